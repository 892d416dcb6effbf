"""Random graphs of all operators with their plain Python models, and what it takes to run one within a deadline.

A graph is made by its seed: `RandomGraph(seed)` always describes the same. Items are whole numbers throughout, so that
any operator may follow any other. As a program, `python -m support.random_graphs SEED FOLDER` runs a graph with its
outputs and its checkpoints in a folder, to be killed and started again.
"""

from __future__ import annotations

import faulthandler
import gzip
import heapq
import operator
import os
import random
import signal
import sys
import threading
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile, zip_longest
from pathlib import Path
from typing import Any

import workers
from orchestrator import Failure, Pool, Stream, Workflow, run
from orchestrator.aggregates import collect_of, count, first_of, sum_of

DEADLINE_S = 60.0
SIZES = (0, 1, 2, 30, 300, 1100, 2600)


def add(k, n):
    return n + k


def kept(m, n):
    return n % m != 0


def copies(m, n):
    return [n] * (n % m)


def falls_into(m, rest, n):
    return n % m == rest


def rest_of(m, n):
    return n % m


def is_above(limit, n):
    return n > limit


def flaky(n):
    """Fail the first time."""
    if n % 11 == 0 and workers.current().attempt == 1:
        raise OSError("not yet")
    return n


def fussy(n):
    """Fail every time."""
    if n % 13 == 0:
        raise LookupError(n)
    return n


def none_for(m, n):
    return None if n % m == 0 else n


def settled(n):
    return -n.item if isinstance(n, Failure) else n


def deadly(n):
    """Kill the worker the first time."""
    if n % 509 == 0 and workers.current().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def nothing():
    return None


def breaks(limit, n):
    if n > limit:
        raise ValueError(n)
    return n


def path_by_key(stem, key):
    return f"{stem}-{key}"


def total(items):
    return sum(item or 0 for item in items)


def total_of_window(window):
    return window.start_s + sum(window.items)


def listed(found, n):
    found.append(n)
    return found


def total_of_group(row):
    return row["total"] + row["items"] + row.get("first", 0) + row.get("all", [0])[-1]


def below(limit, n):
    return n < limit


def total_of_pair(pair):
    return pair[0] + pair[1]


def cut_at(items, limit):
    return list(takewhile(partial(below, limit), items))


def firsts(items, m):
    found: dict[int, int] = {}
    for n in items:
        found.setdefault(n % m, n)
    return list(found.values())


def second(pair):
    return pair[1]


def paired(left, right):
    return 3 * (left if left is not None else -1) + (right if right is not None else -7)


@dataclass
class Flow:
    """A stream and what it has to give."""

    stream: Stream
    items: list[int]
    ordered: bool = True
    teed: bool = False
    """Whether a copy of it on its way here has to be whole, so that nobody behind may leave early."""

    def then(self, stream: Stream, items: list[int], *, ordered: bool = True) -> Flow:
        return Flow(stream, items, self.ordered and ordered, self.teed)

    @property
    def is_sorted(self) -> bool:
        return self.ordered and self.items == sorted(self.items)


def windows(items, size, step):
    return [sum(items[at : at + size]) for at in range(0, len(items), step)]


def time_windows(items, length):
    found: dict[int, int] = {}
    for n in items:
        found[n // length] = found.get(n // length, 0) + n
    return [k * length + found[k] for k in sorted(found)]


def joined(left, right, how, many):
    rest, results, matched = sorted(right), [], set()
    counts = {n: rest.count(n) for n in set(rest)} if many else {}
    for n in left:
        if many and counts.get(n):
            results += [paired(n, n)] * counts[n]
            matched.add(n)
        elif not many and n in rest:
            rest.remove(n)
            results.append(paired(n, n))
        elif how in {"left", "full"}:
            results.append(paired(n, None))
    unmatched = [n for n in rest if n not in matched]
    return results + [paired(None, n) for n in unmatched if how in {"right", "full"}]


class RandomGraph:
    """One graph; `ends` has each end's stream, its model, and whether its order is known."""

    def __init__(
        self,
        seed: int,
        *,
        in_workers: bool,
        calm: bool = True,
        most_items: int = SIZES[-1],
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        """Draw it.

        Args:
            seed: what it is drawn by; every third makes branches meet again.
            in_workers: whether some steps run there, with failures that are retried or skipped.
            calm: False where somebody else kills workers all the time: then no function does, and there are no hooks,
                which need all workers to live for a moment.
            most_items: of each source.
            folder: where files to be read are written; None: no source is a file.
        """
        self.seed = seed
        self._folder = folder
        self._failing: list[tuple[Flow, bool]] = []  # branches that are dropped, if they come to the item that fails
        self._draw = random.Random(seed)
        self._in_workers = in_workers
        self._calm = calm
        self._tees: list[tuple[list[int], Flow]] = []
        self._sizes = [size for size in SIZES if size <= most_items]
        self.meets = seed % 3 == 0
        flows = self._grown([self._source() for _ in range(self._draw.choice([1, 1, 2]))])
        self.ends = flows

    def _source(self) -> Flow:
        items = list(range(self._draw.choice(self._sizes)))
        if self._folder is not None and self._draw.random() < 0.2:
            return Flow(self._read(items), items)
        blocks = self._draw.random() < 0.1 and not self._kept
        return Flow(Stream(iter(items), blocking=True) if blocks else Stream(items), items)

    def _read(self, items: list[int]) -> Stream:
        """Write the items into one or two files, compressed or not, and return the stream that reads them."""
        ending, opened = self._draw.choice([("", open), (".gz", gzip.open)])
        cut = self._draw.choice([0, len(items) // 3])
        paths = [os.path.join(self._folder or "", f"{name}-{len(items)}-{cut}{ending}") for name in ("first", "last")]
        for path, part in zip(paths, (items[:cut], items[cut:]), strict=True):
            if not os.path.exists(path):  # a graph that is resumed finds its files as they were
                with opened(path, "wt") as file:
                    file.writelines(f"{n}\n" for n in part)
        return Stream.read(paths, block_bytes=self._draw.choice([100, 4096])).map_inline(int)

    _kept = False

    def _grown(self, flows: list[Flow]) -> list[Flow]:
        draw = self._draw
        flows = [self._chain(flow) for flow in flows]
        if self.meets or draw.random() < 0.3:
            flows = [*flows[1:], *self._split(flows[0])]
            flows = [self._chain(flow) for flow in flows]
        if self.meets or (len(flows) > 1 and draw.random() < 0.4):
            draw.shuffle(flows)
            flows = [*flows[2:], self._chain(self._meet(flows[0], flows[1]))]
        return flows

    def _chain(self, flow: Flow) -> Flow:
        for _ in range(self._draw.randint(0, 3)):
            flow = self._step(flow)
        return flow

    # ---- one stream ---------------------------------------------------------------------------------------------

    def _step(self, flow: Flow) -> Flow:
        inline = [self._map_inline, self._filter_inline, self._flat_map_inline, self._window, self._time_window]
        inline += [self._take, self._take_while, self._skip, self._distinct, self._enumerate, self._top, self._batch]
        inline += [self._barrier, *([] if self._kept else [self._tee])]
        at_work = [self._map, self._map, self._filter, self._flat_map, self._skipping, self._retried, self._workflow]
        at_work += [self._grouped, self._sorted, self._folded]
        at_work += [self._unordered, self._dropping, self._returned, *([self._hook, self._deadly] if self._calm else [])]
        steps = inline + (at_work if self._in_workers else [])
        return self._draw.choice(steps)(flow)

    @property
    def _options(self) -> dict[str, Any]:
        return self._draw.choice([{}, {}, {"chunk": 1}, {"chunk": 7}, {"chunk": 200}])

    def _map_inline(self, flow):
        k = self._draw.randint(-5, 5)
        return flow.then(flow.stream.map_inline(partial(add, k)), [n + k for n in flow.items])

    def _filter_inline(self, flow):
        m = self._draw.randint(2, 4)
        return flow.then(flow.stream.filter_inline(partial(kept, m)), [n for n in flow.items if n % m])

    def _flat_map_inline(self, flow):
        m = self._draw.randint(2, 3)
        return flow.then(flow.stream.flat_map_inline(partial(copies, m)), [n for n in flow.items for _ in range(n % m)])

    def _window(self, flow):
        if not flow.ordered:
            return flow
        size, step = self._draw.choice([(1, 1), (3, 2), (10, 30), (2000, 1500)])
        return flow.then(flow.stream.window(size, step).map_inline(total), windows(flow.items, size, step))

    def _time_window(self, flow):
        length = self._draw.choice([1, 7, 3000])
        made = flow.stream.window_by_time(length, at=partial(add, 0), lateness_s=10**9)
        return flow.then(made.map_inline(total_of_window), time_windows(flow.items, length))

    def _take(self, flow):
        if flow.teed or not flow.ordered:
            return flow
        n = self._draw.choice([0, 1, 40, 1030, 5000])
        return flow.then(flow.stream.take(n), flow.items[:n])

    def _take_while(self, flow):
        if flow.teed or not flow.ordered:
            return flow
        limit = self._draw.choice([0, 20, 900, 10**9])
        return flow.then(flow.stream.take_while(partial(below, limit)), cut_at(flow.items, limit))

    def _skip(self, flow):
        n = self._draw.choice([0, 1, 40, 1030, 5000]) if flow.ordered else 0
        return flow.then(flow.stream.skip(n), flow.items[n:])

    def _distinct(self, flow):
        if not flow.ordered:
            return flow.then(flow.stream.distinct(), list(dict.fromkeys(flow.items)))
        m = self._draw.choice([1, 7, 1500])
        return flow.then(flow.stream.distinct(partial(rest_of, m)), firsts(flow.items, m))

    def _enumerate(self, flow):
        if not flow.ordered:
            return flow
        return flow.then(flow.stream.enumerate(5).map_inline(total_of_pair), [k + n for k, n in enumerate(flow.items, 5)])

    def _top(self, flow):
        n, smallest = self._draw.choice([0, 1, 50, 5000]), self._draw.random() < 0.5
        kept = sorted(flow.items, reverse=not smallest)[:n]
        return Flow(flow.stream.top(n, smallest=smallest), kept, teed=flow.teed)

    def _batch(self, flow):
        return replace(flow, stream=flow.stream.batch(self._draw.choice([1, 7, 3000])).unbatch())

    def _barrier(self, flow):
        return replace(flow, stream=flow.stream.barrier())

    def _map(self, flow):
        k = self._draw.randint(-5, 5)
        return flow.then(flow.stream.map(partial(add, k), **self._options), [n + k for n in flow.items])

    def _filter(self, flow):
        m = self._draw.randint(2, 4)
        return flow.then(flow.stream.filter(partial(kept, m), **self._options), [n for n in flow.items if n % m])

    def _flat_map(self, flow):
        m = self._draw.randint(2, 3)
        made = flow.stream.flat_map(partial(copies, m), **self._options)
        return flow.then(made, [n for n in flow.items for _ in range(n % m)])

    def _skipping(self, flow):
        return flow.then(flow.stream.map(fussy, on_error="skip", **self._options), [n for n in flow.items if n % 13])

    def _dropping(self, flow):
        m = self._draw.randint(2, 4)
        made = flow.stream.map(partial(none_for, m), drop_none=True, **self._options)
        return flow.then(made, [n for n in flow.items if n % m])

    def _returned(self, flow):
        apart = flow.stream.map_inline(partial(add, 0))  # else a failure holds the item of the first step it is fused with
        made = apart.map(fussy, on_error="return", **self._options).map_inline(settled)
        return flow.then(made, [n if n % 13 else -n for n in flow.items])

    def _tee(self, flow):
        copy: list[int] = []
        self._tees.append((copy, flow))
        return replace(flow, stream=flow.stream.tee(copy), teed=True)

    def _retried(self, flow):
        return flow.then(flow.stream.map(flaky, retries=2, **self._options), flow.items)

    def _deadly(self, flow):
        return flow.then(flow.stream.map(deadly, **self._options), flow.items)

    def _unordered(self, flow):
        k = self._draw.randint(-5, 5)
        made = flow.stream.map(partial(add, k), ordered=False, **self._options)
        return flow.then(made, [n + k for n in flow.items], ordered=False)

    def _workflow(self, flow):
        steps = Workflow().step("one", partial(add, 1)).step("two", partial(add, 10), when=partial(is_above, 50))
        return flow.then(flow.stream.through(steps), [n + 11 if n + 1 > 50 else n + 1 for n in flow.items])

    def _grouped(self, flow):
        m, memory = self._draw.choice([1, 7, 1500]), self._draw.choice(["20K", "256M"])
        groups: dict[int, list[int]] = {}
        for n in flow.items:
            groups.setdefault(n % m, []).append(n)
        made = flow.stream.group_by(partial(rest_of, m), memory=memory, **self._options)
        if not flow.ordered:
            stream = made.agg(total=sum_of(), items=count()).map_inline(total_of_group)
            return flow.then(stream, [sum(all_) + len(all_) for all_ in groups.values()])
        stream = made.agg(total=sum_of(), items=count(), first=first_of(), all=collect_of()).map_inline(total_of_group)
        return flow.then(stream, [sum(all_) + len(all_) + all_[0] + all_[-1] for all_ in groups.values()])

    def _sorted(self, flow):
        reverse, memory = self._draw.random() < 0.5, self._draw.choice(["20K", "256M"])
        if not flow.ordered or self._draw.random() < 0.3:
            kept = sorted(flow.items, reverse=reverse)
            return Flow(flow.stream.sort(reverse=reverse, memory=memory), kept, teed=flow.teed)
        key = partial(rest_of, 17)
        made = flow.stream.sort(key, reverse=reverse, memory=memory, **self._options)
        return flow.then(made, sorted(flow.items, key=key, reverse=reverse))

    def _folded(self, flow):
        if not flow.ordered:
            return Flow(flow.stream.reduce(add), [sum(flow.items)] if flow.items else [], teed=flow.teed)
        made = flow.stream.fold(listed, [], operator.add, **self._options).unbatch()
        return flow.then(made, flow.items)

    def _hook(self, flow):
        return replace(flow, stream=flow.stream.barrier(nothing))

    # ---- several streams ----------------------------------------------------------------------------------------

    def _split(self, flow: Flow) -> list[Flow]:
        draw = self._draw
        kind = draw.choice(["broadcast", "route", "first", "demultiplex", "drop"])
        limit = draw.choice([0, 10, 900, 2000])
        if kind == "broadcast":
            return [flow.then(each, flow.items) for each in flow.stream.broadcast(draw.randint(2, 3))]
        if kind == "drop":
            *whole, failing = flow.stream.broadcast(3, on_failure="drop")
            breaks_off = max(flow.items, default=0) > limit
            self._failing.append((flow.then(failing.map_inline(partial(breaks, limit)), flow.items), breaks_off))
            return [flow.then(each, flow.items) for each in whole]
        if kind == "demultiplex":
            made = flow.stream.demultiplex(partial(falls_into, 3, 0), keys=[True, False])
            return [flow.then(made[key], [n for n in flow.items if (n % 3 == 0) == key]) for key in (True, False)]
        tests = {"above": partial(is_above, limit), "even": partial(falls_into, 2, 0)}
        made = flow.stream.route(tests, match="first" if kind == "first" else "all")
        above = [n for n in flow.items if n > limit]
        even = [n for n in flow.items if n % 2 == 0 and (kind == "route" or n <= limit)]
        rest = [n for n in flow.items if n % 2 and n <= limit]
        return [flow.then(made[name], items) for name, items in (("above", above), ("even", even), ("rest", rest))]

    def _meet(self, one: Flow, other: Flow) -> Flow:
        streams, both = (one.stream, other.stream), [*one.items, *other.items]
        ways = ["merge", "priority", "multiplex", "join", "join"]
        in_order, teed = one.ordered and other.ordered, one.teed or other.teed
        ways += ["in_step", "in_step", "shortest", "concat"] * 2 * in_order
        ways += ["sorted"] * 4 * (one.is_sorted and other.is_sorted)
        way = self._draw.choice(ways)
        if way == "in_step" or (way == "shortest" and teed):
            made = one.stream.in_step(other.stream, missing=0).map_inline(total)
            return Flow(made, [a + b for a, b in zip_longest(one.items, other.items, fillvalue=0)], teed=teed)
        if way == "shortest":
            made = one.stream.in_step(other.stream, strict="shortest").map_inline(total)
            return Flow(made, [a + b for a, b in zip(one.items, other.items, strict=False)])
        if way == "concat":
            return Flow(Stream.concat(*streams), both, teed=teed)
        if way == "sorted":
            return Flow(Stream.merge_sorted(*streams), list(heapq.merge(one.items, other.items)), teed=teed)
        if way == "join":
            how, many = self._draw.choice(["inner", "left", "right", "full"]), self._draw.random() < 0.3
            many = many and len(both) < 700
            limits: dict[str, Any] = self._draw.choice(
                [{}, {"max_items": 40, "overflow": "spill"}, {"within_s": 10**9, "at": partial(add, 0)}]
            )
            made = one.stream.join(other.stream, partial(add, 0), how=how, many=many, combine=paired, **limits)
            return Flow(made, joined(one.items, other.items, how, many), ordered=False, teed=teed)
        made = {
            "merge": lambda: Stream.merge(*streams),
            "priority": lambda: Stream.merge_by_priority([(one.stream, 1), (other.stream, 2)], ageing=5),
            "multiplex": lambda: Stream.multiplex(dict(enumerate(streams))).map_inline(second),
        }[way]()
        return Flow(made, both, ordered=False, teed=teed)

    # ---- running it ---------------------------------------------------------------------------------------------

    def run(self, pool: Pool | None) -> None:
        """Run it and compare each end with its model."""
        got: list[list[int]] = [[] for _ in self.ends]
        ends = [end.stream.to(sink) for end, sink in zip(self.ends, got, strict=True)]
        run(*ends, *(failing.stream.to([]) for failing, _ in self._failing), pool=pool)
        self.compare(got)
        for copy, flow in self._tees:
            assert (copy if flow.ordered else sorted(copy)) == (flow.items if flow.ordered else sorted(flow.items))

    def run_in(self, folder: str, pool: Pool | None, **options: Any) -> None:
        """Run it, or resume it, with outputs and checkpoints in a folder; compare at the end."""
        paths = [os.path.join(folder, f"out-{number}") for number in range(len(self.ends))]
        ends = [end.stream.to(path) for end, path in zip(self.ends, paths, strict=True)]
        for number, (failing, _) in enumerate(self._failing):
            to = os.path.join(folder, f"failing-{number}")
            by_key = failing.stream.demultiplex(partial(falls_into, 3, 0), to=partial(path_by_key, to))
            ends.append(failing.stream.to(to) if number % 2 else by_key)
        run(*ends, pool=pool, checkpoint=os.path.join(folder, "kept"), checkpoint_every_s=0.0, **options)
        self.compare([[int(line) for line in Path(path).read_text().split()] for path in paths])
        for number, (failing, breaks_off) in enumerate(self._failing):
            left = [path for path in Path(folder).iterdir() if f"failing-{number}" in path.name]
            found = sorted(int(line) for path in left for line in path.read_text().split())
            assert (left == []) if breaks_off else (found == sorted(failing.items)), (self.seed, left)

    def compare(self, got: list[list[int]]) -> None:
        for number, (end, items) in enumerate(zip(self.ends, got, strict=True)):
            wanted = end.items if end.ordered else sorted(end.items)
            found = items if end.ordered else sorted(items)
            at = next((k for k, pair in enumerate(zip(found, wanted, strict=False)) if pair[0] != pair[1]), "the end")
            assert found == wanted, (
                f"seed {self.seed}, end {number}: {len(found)} items instead of {len(wanted)}, other from {at} on:\n"
                f"{end.stream.explain()}"
            )


class ResumableGraph(RandomGraph):
    """One whose sources can be read again."""

    _kept = True


def within_deadline(work, seed, deadline_s=DEADLINE_S):
    """Call `work` in a thread of its own; fail if it raises, or doesn't end in time."""
    errors: list[BaseException] = []

    def target():
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=target, name=f"graph-{seed}", daemon=True)
    thread.start()
    thread.join(deadline_s)
    if thread.is_alive():
        faulthandler.dump_traceback(sys.__stderr__)
        raise AssertionError(f"the graph of seed {seed} did not end in {deadline_s} s")
    for error in errors:
        error.add_note(f"in the graph of seed {seed}")
        raise error


if __name__ == "__main__":
    with Pool(2, buffer_bytes="1M", max_deaths=1000) as the_pool:
        ResumableGraph(int(sys.argv[1]), in_workers=True, folder=sys.argv[2]).run_in(sys.argv[2], the_pool)
