"""`Stream` as plain lists, in a few lines a method: what a job that is built must give, whatever runs it."""

import heapq
import itertools
import json
from pathlib import Path
from typing import ClassVar


class PlainStream:
    """A stream whose items are there already; what its methods are called with is noted in `calls`."""

    calls: ClassVar = []

    def __init__(self, items):
        self.items = list(items)

    @classmethod
    def read(cls, paths, format="lines", **options):  # noqa: A002 - the name of the contract
        cls.calls.append(("read", options))
        lines = [line for path in paths for line in Path(path).read_text().splitlines()]
        return cls(map(json.loads, lines) if format == "jsonl" else lines)

    def map(self, fn, **options):
        self.calls.append(("map", options))
        return PlainStream(map(fn, self.items))

    def filter(self, keep, **options):
        self.calls.append(("filter", options))
        return PlainStream(filter(keep, self.items))

    def flat_map(self, fn, **options):
        self.calls.append(("flat_map", options))
        return PlainStream(result for item in self.items for result in fn(item))

    def map_inline(self, fn):
        return PlainStream(map(fn, self.items))

    def filter_inline(self, keep):
        return PlainStream(filter(keep, self.items))

    def through(self, workflow, **options):
        self.calls.append(("through", options))
        from workers.functions.fused import FusedRunner
        from workers.functions.runner import CallSpec

        items = self.items
        for steps in workflow.stages:
            runner = FusedRunner(CallSpec(steps, star=False, stop_at_failure=True, forward_output=False), steps)
            items = runner.run(items, lambda: False).flat()
        return PlainStream(items)

    def flat_map_inline(self, fn):
        return PlainStream(result for item in self.items for result in fn(item))

    def broadcast(self, n, **options):
        self.calls.append(("broadcast", n))
        return tuple(PlainStream(self.items) for _ in range(n))

    def tee(self, *sinks):
        for sink in sinks:
            self.to(sink)
        return self

    def route(self, tests, default="rest", match="all"):
        outputs = {name: [] for name in [*tests, default]}
        for item in self.items:
            names = [name for name, test in tests.items() if test(item)] or [default]
            for name in names[: 1 if match == "first" else None]:
                outputs[name].append(item)
        return {name: PlainStream(items) for name, items in outputs.items()}

    def window(self, size, step=1, partial=True):
        windows = [self.items[at : at + size] for at in range(0, len(self.items), step)]
        return PlainStream(window for window in windows if partial or len(window) == size)

    def join(self, other, key, **options):
        self.calls.append(("join", options))
        by_key = {key(item): item for item in other.items}
        return PlainStream({**item, **by_key[key(item)]} for item in self.items if key(item) in by_key)

    @classmethod
    def merge(cls, *streams):
        return cls(item for stream in streams for item in stream.items)

    @classmethod
    def merge_sorted(cls, *streams, key=None):
        return cls(heapq.merge(*(stream.items for stream in streams), key=key))

    @classmethod
    def merge_by_priority(cls, ranked, **options):
        cls.calls.append(("merge_by_priority", options))
        return cls.merge(*(stream for stream, _ in sorted(ranked, key=lambda pair: -pair[1])))

    @classmethod
    def multiplex(cls, streams):
        return cls((tag, item) for tag, stream in streams.items() for item in stream.items)

    def in_step(self, *others, missing=None):
        branches = [self.items, *(other.items for other in others)]
        return PlainStream(itertools.zip_longest(*branches, fillvalue=missing))

    def demultiplex(self, key, keys=None, to=None, unknown="error"):
        if to is not None:
            for item in self.items:
                with Path(to(key(item))).open("a") as file:
                    file.write(f"{item}\n")
            return self
        made = {name: PlainStream(item for item in self.items if key(item) == name) for name in keys}
        if unknown == "default":
            made[None] = PlainStream(item for item in self.items if key(item) not in keys)
        return made

    def barrier(self, each_worker=None, **options):
        self.calls.append(("barrier", {"each_worker": each_worker, **options}))
        return self

    def to(self, sink):
        if isinstance(sink, str):
            Path(sink).write_text("".join(f"{json.dumps(item)}\n" for item in self.items))
        else:
            sink(self.items)
        return self
