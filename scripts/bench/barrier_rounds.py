"""The barrier's rows: microseconds a round, against `multiprocessing.Barrier`."""

import multiprocessing
import time

from sides import OURS

THEIRS = "multiprocessing.Barrier"
BARRIER_SIDES = (OURS, THEIRS)
WARM_ROUNDS = 50


def _meet(barrier, rounds, answer):
    for _ in range(WARM_ROUNDS):
        barrier.wait()
    started = time.perf_counter()
    for _ in range(rounds):
        barrier.wait()
    answer.put(time.perf_counter() - started)


def _rounds(side, parties, *, quick):
    from orchestrator import Barrier

    rounds = 100 if quick else 16_000 // parties
    barrier = (Barrier if side == OURS else multiprocessing.Barrier)(parties)
    answer = multiprocessing.SimpleQueue()
    others = [multiprocessing.Process(target=_meet, args=(barrier, rounds, answer)) for _ in range(parties)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    seconds = max(answer.get() for _ in others)
    return {"value": seconds / rounds * 1e6}


def barrier2(side, *, quick):
    return _rounds(side, 2, quick=quick)


def barrier4(side, *, quick):
    return _rounds(side, 4, quick=quick)


def barrier16(side, *, quick):
    return _rounds(side, 16, quick=quick)
