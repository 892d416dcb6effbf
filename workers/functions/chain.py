"""The steps of a chain, each run over a whole column of values.

    flow -> [map | filter | flat_map | branch | when | chain]: one C loop over its values -> flow -> next step ...

Each step is one C loop over the slice (`list.extend` of a `map`): all items of a slice are through a step before the
next one starts, so five steps cost what five calls cost, and a step is timed by one look at the clock a slice.

Runs in the worker's main thread. Owner of the counts of its steps.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, compress, islice, repeat
from operator import eq, truth
from time import perf_counter
from typing import Any, Protocol, cast

from workers.errors.capture import ExceptionRecord, capture
from workers.errors.describe import describe
from workers.functions.columns.flow import Bad, Flow
from workers.functions.lazy import FEW, MANY, FailedLazily, Lazy, Room, has_lazy, in_pieces, read
from workers.functions.steps import Reducer, Step, StepCounts, UnknownLabelError
from workers.transport.forks import present


class _Operator(Protocol):
    """A step made ready to run."""

    counts: StepCounts

    def run(self, flow: Flow) -> Bad:
        """Replace the flow's values by their results, and return the failures by former position."""


class Chain:
    """Steps in order, made ready to run."""

    def __init__(self, steps: tuple[Step, ...], counts: list[StepCounts], *, stop: bool, room: Room) -> None:
        """Prepare the steps.

        The counts of each, inner ones too, are entered in the order of `Steps.names`.
        """
        self._operators = [(_operator(step, counts, stop=stop, room=room), step.drop_none) for step in steps]
        self._stop = stop
        self._room = room

    def run(self, flow: Flow, first: int = 0) -> None:
        """Take a slice through all steps, from the one with the number `first` on."""
        at, forks = perf_counter(), present.forks
        operators = self._operators[first:] if first else self._operators
        for number, (operator, drops_none) in enumerate(operators, first + 1):
            arrived = len(flow.values)
            if not arrived:
                return
            present.values = flow.values
            bad = operator.run(flow)
            if present.forks != forks:  # a child that the function has forked, and that returned from it, too
                return
            if drops_none:
                flow.drop_none()
            counts = operator.counts
            counts.items_out += len(flow.values)
            if bad:
                counts.failed += 1 if self._stop else len(bad)
                if self._stop:
                    arrived = min(bad) + 1  # what stands behind the failure counts nowhere
                flow.purge()
            counts.items_in += arrived
            now = perf_counter()
            counts.seconds += now - at
            at = now
            if self._room.exceeded and has_lazy(flow.values):
                self._go_on_lazily(flow, number)
                return

    def _go_on_lazily(self, flow: Flow, number: int) -> None:
        """Run the values through the steps from `number` on.

        Those of a `Lazy` when they are read.
        """
        values = flow.values
        lazies = [value for value in values if type(value) is Lazy]
        self._operators[number - 1][0].counts.items_out -= len(lazies)
        for lazy in lazies:
            lazy.slices = self._rest(number, lazy.slices)
        places = [place for place, value in enumerate(values) if type(value) is not Lazy]
        if places and number < len(self._operators):
            part = Flow([values[place] for place in places])
            self.run(part, number)
            if flow.scatter([(places, part)], {}, stop=self._stop):
                flow.purge()

    def _rest(self, number: int, slices: Iterator[list[Any]]) -> Iterator[list[Any]]:
        """Yield the results of slices of the output of the step before `number`."""
        operator, drops_none = self._operators[number - 1]
        counts, last = operator.counts, number == len(self._operators)
        if drops_none:
            slices = ([value for value in values if value is not None] for values in slices)
        came = [0]
        for values in slices if last else in_pieces(slices, self._room.most_at_once, came):
            counts.items_out += len(values)
            if last:
                yield values
                continue
            flow = Flow(values)
            self.run(flow, number)
            if flow.failures:
                raise FailedLazily(flow.failures[min(flow.failures)])
            came[0] = len(flow.values)
            yield from read(flow.values)


class _Calls:
    """Calls a step's function over a column, tracking which values fail."""

    __slots__ = ("_step", "stop")

    def __init__(self, step: Step, *, stop: bool) -> None:
        self._step = step
        self.stop = stop

    def over(self, apply: Iterator[Any], total: int) -> tuple[list[Any], Bad]:
        """Return the results of `apply` for `total` values, and the failures among them.

        With `stop`, the first one.
        """
        out: list[Any] = []
        bad: Bad = {}
        while True:
            try:
                out.extend(apply)
                if len(out) + len(bad) >= total:
                    return out, bad
                failed: BaseException = StopIteration()
            except BaseException as error:
                failed = error
            bad[len(out) + len(bad)] = self.captured(failed)
            if self.stop:
                return out, bad

    def captured(self, error: BaseException) -> ExceptionRecord:
        """Return the failure of this step for what its function raised."""
        if isinstance(error, StopIteration):
            error = RuntimeError("the function raised StopIteration")
        return replace(capture(error), step=self._step.name, workflow=self._step.workflow)

    def at_all_places(self, apply: Iterator[Any], total: int) -> tuple[list[Any], Bad]:
        """Do as `over`, with None at the places of values that failed or were not run."""
        out, bad = self.over(apply, total)
        for position in sorted(bad):
            out.insert(position, None)
        return out + [None] * (total - len(out)), bad


class _Map:
    """Replaces each value by one."""

    def __init__(self, step: Step, calls: _Calls) -> None:
        self.counts = StepCounts()
        self._function: Any = step.function
        self._calls = calls

    def run(self, flow: Flow) -> Bad:
        out, bad = self._calls.over(map(self._function, flow.values), len(flow.values))
        if bad:
            flow.lose(bad, stop=self._calls.stop)
        flow.values = out
        return bad


class _Filter:
    """Keep the values for which the function is true."""

    def __init__(self, step: Step, calls: _Calls) -> None:
        self.counts = StepCounts()
        self._function: Any = step.function
        self._calls = calls

    def run(self, flow: Flow) -> Bad:
        mask, bad = self._calls.over(map(truth, map(self._function, flow.values)), len(flow.values))
        if bad:
            flow.lose(bad, stop=self._calls.stop)
        if not all(mask):
            flow.keep(mask)
        return bad


class _FlatMap:
    """Replaces each value by any number of values."""

    def __init__(self, step: Step, calls: _Calls, room: Room) -> None:
        self.counts = StepCounts()
        self._step = step
        self._calls = calls
        self._room = room

    def run(self, flow: Flow) -> Bad:
        values: list[Any] = []
        starts: list[int] = []
        bad: Bad = {}
        arrived = iter(flow.values)
        while True:
            try:
                self._fill(values, starts, arrived)
                break
            except BaseException as error:
                del values[starts.pop() :]
                bad[len(starts) + len(bad)] = self._calls.captured(error)
            if self._calls.stop:
                break
        if bad:
            flow.lose(bad, stop=self._calls.stop)
        starts.append(len(values))
        flow.spread(values, starts)
        return bad

    def _fill(self, values: list[Any], starts: list[int], arrived: Iterator[Any]) -> None:
        """Take the function's results, and note where those of each value start."""
        room = self._room
        current: list[Any] = [None]
        iterators = self._iterators(values, starts, arrived, current)
        flat = chain.from_iterable(iterators)
        step = min(FEW, room.most_at_once)
        while True:
            before = len(values)
            values.extend(islice(flat, step))
            if len(values) - before < step:
                return
            start = starts[-1]
            if room.is_too_small(values, start):
                values[start:] = [room.lazy(values[start:], current[0], self._step, self.counts)]
                flat = chain.from_iterable(iterators)
            step = min(2 * step, MANY, room.most_at_once)

    def _iterators(
        self, values: list[Any], starts: list[int], arrived: Iterator[Any], current: list[Any]
    ) -> Iterator[Iterable[Any]]:
        """Call the function for each value after the results of the one before are read."""
        function: Any = self._step.function
        for value in arrived:
            starts.append(len(values))
            made = function(value)
            kind = type(made)
            current[0] = made if kind is list or kind is tuple else iter(made)
            yield current[0]


class _Branch:
    """Runs each value through the chain of its label."""

    def __init__(self, step: Step, calls: _Calls, counts: list[StepCounts], room: Room) -> None:
        self.counts = StepCounts()
        counts.append(self.counts)
        self._function: Any = step.function
        self._calls = calls
        self._numbers = _Numbers(step)
        inner = [steps for _, steps in step.branches]
        if step.default is not None:
            inner.append(step.default)
        self._chains = [Chain(steps, counts, stop=calls.stop, room=room) for steps in inner]

    def run(self, flow: Flow) -> Bad:
        values = flow.values
        labels = map(self._function, values)
        numbers, bad = self._calls.at_all_places(map(self._numbers.__getitem__, labels), len(values))
        parts = []
        for number, inner in enumerate(self._chains):
            mask = list(map(eq, numbers, repeat(number)))
            if True in mask:
                part = Flow(list(compress(values, mask)))
                inner.run(part)
                parts.append((list(compress(range(len(values)), mask)), part))
        return flow.scatter(parts, bad, stop=self._calls.stop)


class _Numbers(dict[Hashable, int]):
    """The chain of each label."""

    def __init__(self, step: Step) -> None:
        super().__init__((label, number) for number, (label, _) in enumerate(step.branches))
        self._default = None if step.default is None else len(step.branches)

    def __missing__(self, label: Hashable) -> int:
        if self._default is None:
            raise UnknownLabelError(f"no branch for {describe(label)}; there are {', '.join(map(describe, self))}")
        return self._default


class _When:
    """A step for the values that fulfil its condition.

    The others pass unchanged.
    """

    def __init__(self, step: Step, calls: _Calls, inner: _Operator | Chain, counts: StepCounts) -> None:
        self.counts = counts
        self._condition: Any = step.when
        self._calls = calls
        self._inner = inner

    def run(self, flow: Flow) -> Bad:
        values = flow.values
        mask, bad = self._calls.at_all_places(map(truth, map(self._condition, values)), len(values))
        places = list(compress(range(len(values)), mask))
        self.counts.skipped += mask.count(False)
        part = Flow(list(compress(values, mask)))
        if places:
            self._inner.run(part)
        return flow.scatter([(places, part)], bad, stop=self._calls.stop)


def _operator(step: Step, counts: list[StepCounts], *, stop: bool, room: Room) -> _Operator:
    """Prepare a step, and enter its counts."""
    calls = _Calls(step, stop=stop)
    if step.kind == "branch":
        branch = _Branch(step, calls, counts, room)
        return branch if step.when is None else _When(step, calls, branch, branch.counts)
    if step.kind == "chain":
        own = StepCounts()
        counts.append(own)
        return _When(step, calls, Chain(step.branches[0][1], counts, stop=stop, room=room), own)
    plain: _Operator
    if step.kind == "fold":
        from workers.functions.folding import Fold  # noqa: PLC0415 - only for those who fold

        plain = Fold(cast("Reducer", step.function), calls)
    elif step.kind == "flat_map":
        plain = _FlatMap(step, calls, room)
    else:
        plain = _Map(step, calls) if step.kind == "map" else _Filter(step, calls)
    counts.append(plain.counts)
    return plain if step.when is None else _When(step, calls, plain, plain.counts)
