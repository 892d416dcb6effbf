"""Runs the user's function over the items of a chunk, tracking each item's fate.

The fast path is one C loop (`list.extend` of a `map`): what was done before an exception stays in the list, so the
item at fault is known without a Python statement an item.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, starmap
from typing import Any, NamedTuple

from workers.errors.capture import ExceptionRecord, capture
from workers.functions.columns.slices import Slices
from workers.functions.steps import Steps
from workers.process.randomness import Seeded
from workers.records.blocks import PartlyFailedError
from workers.transport.forks import present

_MOST_LISTED = 4096
"""A range or tuple of at most so many items is made a list, of which some can be given back; more run too quickly."""

Failures = list[tuple[int, ExceptionRecord | list[Any]]]
"""By position in the chunk: what the function raised; of a block of records, the pieces of what came of them."""


class CallSpec(NamedTuple):
    """The specification of a call, which a worker gets before its first chunk."""

    function: Callable[..., Any] | Steps
    star: bool
    """Whether an item is a tuple of arguments; not for steps."""
    stop_at_failure: bool
    """Whether the items behind one that fails need not be run."""
    forward_output: bool
    """Whether prints go to the coordinator instead of the inherited stdout and stderr."""
    watched: bool = False
    """Whether the coordinator has to know which item runs, and since when."""
    prompt: bool = False
    """Whether every answer is written at once: the next chunk may have nothing to do with this one."""
    seed: tuple[int, int] | None = None
    """The pool's seed, and which of its calls this is: 0 for all that is submitted, then 1, 2 … in their order."""
    drop_none: bool = False
    """Whether results that are None are left out, unless an item of the chunk failed; not for steps."""


class CallRunner:
    """One call in this worker: its function, and how many items of it fill a slice of time."""

    def __init__(self, spec: CallSpec) -> None:
        self.spec = spec
        self._function: Any = spec.function
        if spec.seed is not None:
            seeded: Any = spec.function
            self._function = Seeded(seeded, *spec.seed)
        self._slices = Slices()
        self._running: tuple[list[Any], Iterator[Any]] | None = None
        """The items of the chunk that runs, and the iterator that gives them to the function."""

    def give_back(self) -> int | None:
        """End the running chunk with the item that has begun most recently.

        Returns how many have begun, or None for all.

        If none has, the first will, and counts.

        Called by a signal handler that interrupts the function, in the thread that runs it.
        """
        if self._running is None:
            return None
        items, given = self._running
        begun = max(1, len(items) - operator.length_hint(given))
        if begun >= len(items):
            return None
        del items[begun:]
        return begun

    def begin_at(self, index: int) -> None:
        """Give the next item the random numbers of this index in its call."""
        if isinstance(self._function, Seeded):
            self._function.index = index

    def run(
        self, items: Sequence[Any], abandoned: Callable[[], bool], began: Callable[[int], None] | None = None
    ) -> tuple[list[Any], Failures]:
        """Return the results and, by position in the chunk, the failures.

        Fewer of both if abandoned.

        `began` is told the position of each item before it runs.
        """
        results: list[Any] = []
        failures: Failures = []
        if type(items) is not list and len(items) <= _MOST_LISTED:
            items = list(items)
        given = iter(items)
        self._running = (items, given) if type(items) is list else None
        present.values = items
        apply: Iterator[Any] = (starmap if self.spec.star else map)(self._function, given)

        def run(done: int, wanted: int) -> tuple[int, bool]:
            before = len(results)
            try:
                results.extend(islice(apply, wanted))
                through = len(results) - before
                # There may be fewer items than before: see `give_back`.
                if through >= min(wanted, len(items) - done):
                    return through, True
                told = _record_of(RuntimeError("the function raised StopIteration"))  # which map takes for the end
            except BaseException as error:
                through = len(results) - before
                told = _record_of(error)
            failures.append((done + through, told))
            return through + 1, not self.spec.stop_at_failure

        self._slices.run(items, run, abandoned, began)
        self._running = None
        present.values = ()
        return results, failures


def _record_of(error: BaseException) -> ExceptionRecord | list[Any]:
    return error.pieces if isinstance(error, PartlyFailedError) else capture(error)
