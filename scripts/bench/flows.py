"""Rows of whole flows: a chain of steps in the coordinator, and branches of which one is slow."""

import time
from collections import deque

import functions

CHAIN_SIDES = ("five inline steps", "five built-in maps")
FEW, MANY = "500000", "5000000"
_FAST_TURNS, _SLOW_TURNS = 1, 100


def chain(side, *, quick):
    """Nanoseconds an item and step, the call of the step's function and the share of source and sink included."""
    from orchestrator import Stream, run

    items = range(50_000 if quick else 2_000_000)
    flow = Stream(items) if side == CHAIN_SIDES[0] else items
    for step in functions.STEPS:
        flow = flow.map_inline(step) if side == CHAIN_SIDES[0] else map(step, flow)
    started = time.perf_counter()
    if side == CHAIN_SIDES[0]:
        run(flow.to(None))
    else:
        deque(flow, 0)
    return {"value": (time.perf_counter() - started) / len(items) / len(functions.STEPS) * 1e9}


class Taking:
    """A sink that takes so many turns of a loop an item, and counts."""

    def __init__(self, turns):
        self.turns = turns
        self.items = 0

    def write(self, items):
        """Take them."""
        for _ in range(self.turns * len(items)):
            pass
        self.items += len(items)

    def close(self):
        """Nothing to free."""


def branches(side, *, quick):
    """The peak is seen from outside."""
    from orchestrator import Pool, Stream, run

    count = int(side) // (10 if quick else 1)
    sinks = [Taking(_FAST_TURNS), Taking(_SLOW_TURNS), Taking(_FAST_TURNS)]
    started = time.perf_counter()
    with Pool(workers=2) as pool:
        ways = Stream(iter(range(count))).map(functions.nothing).broadcast(len(sinks))
        run(*(way.to(sink) for way, sink in zip(ways, sinks, strict=True)), pool=pool)
    if [sink.items for sink in sinks] != [count] * len(sinks):
        raise RuntimeError("a branch lost items")
    return {"value": None, "detail": {"seconds": round(time.perf_counter() - started, 2)}}
