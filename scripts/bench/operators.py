"""The operators with trivial functions in one process, ours against aiostream and streamz: items a second.

Run by the row "operators" in a process of its own a measurement: operators.py OPERATOR SIDE COUNT prints items/s.
Ours is pushed lists of 1,000 items, as a source does; the others are fed in the way that they offer, item by item.
"""

import asyncio
import json
import sys
import time

OPERATORS = ("window", "route", "merge", "tee", "join")
LIST = 1000


class Count:
    """Where results end: counts them."""

    def __init__(self):
        self.items = 0

    def write(self, items):
        """Count."""
        self.items += len(items)

    def close(self):
        """Nothing to free."""


def even(item):
    return item % 2 == 0


def third(item):
    return item % 3 == 0


def same(item):
    return item


def pair(left, right):
    return (left, right)


def ours(operator, count):
    from orchestrator.graph.flow.node import ROOM, Node
    from orchestrator.streams.patterns.joining import Join
    from orchestrator.streams.patterns.merging import Merge
    from orchestrator.streams.patterns.splitting import Route, Tee
    from orchestrator.streams.patterns.timed.windows import CountWindow

    class End(Node):
        taken = 0

        def capacity(self, port):  # noqa: ARG002
            return ROOM

        def receive(self, items, port):  # noqa: ARG002
            for _ in items:  # the others hand on one by one; so is ours taken
                self.taken += 1

    make = {
        "window": lambda: CountWindow(10, 1),
        "route": lambda: Route({"even": even, "third": third}),
        "merge": lambda: Merge(2),
        "tee": lambda: Tee(Count()),
        "join": lambda: Join(same, combine=pair),
    }
    node = make[operator]()
    sources = [Node("source", inputs=0) for _ in node.inlets]
    for port, source in enumerate(sources):
        source.outlets[0].to(node, port)
    for outlet in node.outlets:
        outlet.to(End("end", outputs=0))
    each = count // len(sources)
    started = time.perf_counter()
    for start in range(0, each, LIST):
        for source in sources:
            source.outlets[0].push(list(range(start, start + LIST)))
    for source in sources:
        source.outlets[0].end()
    return time.perf_counter() - started


def streamz(operator, count):
    import streamz as library

    source, other = library.Stream(), library.Stream()
    seen = Count()
    one = [None]

    def take(_):
        seen.write(one)

    if operator == "window":
        source.sliding_window(10).sink(take)
    elif operator == "route":
        source.filter(even).sink(take)
        source.filter(third).sink(take)
        source.filter(lambda item: not even(item) and not third(item)).sink(take)
    elif operator == "merge":
        source.union(other).sink(take)
    elif operator == "tee":
        source.sink(take)
        source.sink(take)
    else:  # its nearest: no join by key is offered
        source.zip(other).sink(take)
    emit, emit_other = source.emit, other.emit
    two = operator in {"merge", "join"}
    started = time.perf_counter()
    if two:
        for item in range(count // 2):
            emit(item)
            emit_other(item)
    else:
        for item in range(count):
            emit(item)
    return time.perf_counter() - started


def aiostream(operator, count):
    from aiostream import pipe, stream

    def flow():
        if operator == "merge":
            return stream.merge(stream.range(count // 2), stream.range(count // 2))
        if operator == "join":  # its nearest: no join by key is offered
            return stream.zip(stream.range(count // 2), stream.range(count // 2))
        if operator == "window":  # its nearest: windows that don't overlap
            return stream.range(count) | pipe.chunks(10)
        if operator == "route":  # its nearest: one filter; nothing splits a stream
            return stream.range(count) | pipe.filter(even)
        return stream.range(count) | pipe.action(same)

    async def run():
        async with flow().stream() as streamer:
            async for _ in streamer:
                pass

    started = time.perf_counter()
    asyncio.run(run())
    return time.perf_counter() - started


SIDES = {"orchestrator": ours, "aiostream": aiostream, "streamz": streamz}


if __name__ == "__main__":
    chosen, side, amount = sys.argv[1], sys.argv[2], int(sys.argv[3])
    print(json.dumps({"value": amount / SIDES[side](chosen, amount)}))
