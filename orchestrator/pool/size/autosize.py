"""Decides how many workers "auto" should have, from observations.

Pure.

    grow     all workers have something to do, and CPUs are idle, and there is memory for one more
    shrink   memory gets short · others want the CPUs and ours get less than they could use · workers are idle
    neither  nothing is in flight, or the source is slower than the workers: more of them would not help

A worker that sleeps or waits for a disk leaves its CPU idle, so with a bound above the number of CPUs there will be
more workers than CPUs; with the usual bound there never are.

Hysteresis: a change needs the same verdict at several looks in a row, then comes a rest in which its effect is awaited.
A change of direction needs it twice as long as the one before, so that noise makes ever fewer of them; in calm this is
forgotten. Between what grows and what shrinks there is a gap in every figure.

The state is owned by whoever looks.
"""

from __future__ import annotations

from typing import NamedTuple

GROW_IDLE_CPUS = 0.6
"""As many CPUs' time has to be idle for one more worker."""
SHRINK_IDLE_CPUS = 0.2
"""With less than this idle, somebody waits for a CPU."""
OTHERS_CPUS = 0.5
"""Less than this is the noise of any machine."""
FULL_CPU = 0.9
"""Workers that have less of a CPU each compete with the others."""
BUSY = 0.9
"""The share of workers with something to do from which more would help."""
SPARE_WORKERS = 1.5
"""More idle workers than this are not chance."""

GROW_LOOKS = 3
YIELD_LOOKS = 4
SPARE_LOOKS = 20
REST_LOOKS = 2
MOST_PATIENCE = 32
CALM_LOOKS = 120


class Observation(NamedTuple):
    """The observation of one look, over the time since the one before."""

    size: int
    """Workers wanted now."""
    working: bool
    """Whether anything is in flight."""
    busy: float
    """The share of the workers that hold a chunk."""
    idle_cpus: float
    """Idle time of the CPUs that this process may use, in CPUs."""
    own_cpus: float | None
    """What the workers used, with what they started; None: nobody looked, as there is enough for all."""
    others_cpus: float
    """The CPUs that other processes used."""
    memory_left: int
    """Bytes."""
    reserve: int
    """Bytes that are to be left."""
    worker_bytes: int
    """Of the largest worker."""


class AutoSizer:
    """Decides at one look after another."""

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most
        self._way = 0  # the verdict that came last: 1 grow, -1 shrink
        self._looks = 0  # how often in a row
        self._rest = 0  # looks that are not judged
        self._moved = 0  # the direction of the last change
        self._patience = 1
        self._calm = 0  # looks since the last change

    def judge(self, seen: Observation) -> int:
        """Return the size that there should be from now on."""
        size = min(max(seen.size, self._least), self._most)
        if size != seen.size:
            return size
        self._calm += 1
        if self._calm % CALM_LOOKS == 0:
            self._patience = max(1, self._patience // 2)
        if _is_short(seen):
            return self._changed(size, -1) if size > self._least and not self._resting() else size
        if self._resting():
            return size
        way, needed = self._verdict(seen)
        self._looks = self._looks + 1 if way == self._way else 1
        self._way = way
        if way == 0 or self._looks < needed * (self._patience if way == -self._moved else 1):
            return size
        return self._changed(size, way * self._step(seen) if way > 0 else -1)

    def _resting(self) -> bool:
        self._rest -= 1
        return self._rest >= 0

    def _verdict(self, seen: Observation) -> tuple[int, int]:
        """Return 1 to grow, -1 to shrink or 0, and for how many looks in a row that must hold."""
        if not seen.working:
            return 0, 1
        if seen.size > self._least:
            if _competes(seen):
                return -1, YIELD_LOOKS
            if seen.size * (1 - seen.busy) >= SPARE_WORKERS:
                return -1, SPARE_LOOKS
        room = seen.memory_left - seen.worker_bytes >= 2 * seen.reserve
        if seen.size < self._most and seen.busy >= BUSY and seen.idle_cpus >= GROW_IDLE_CPUS and room:
            return 1, GROW_LOOKS
        return 0, 1

    def _step(self, seen: Observation) -> int:
        """Return how many workers to add.

        One for each idle CPU, at most as many as there are, and within memory.
        """
        fits = (seen.memory_left - 2 * seen.reserve) // max(seen.worker_bytes, 1)
        return max(1, min(int(seen.idle_cpus), seen.size, self._most - seen.size, fits))

    def _changed(self, size: int, by: int) -> int:
        way = 1 if by > 0 else -1
        if way == -self._moved:
            self._patience = min(self._patience * 2, MOST_PATIENCE)
        self._moved, self._way, self._looks, self._rest, self._calm = way, 0, 0, REST_LOOKS, 0
        return size + by


def _is_short(seen: Observation) -> bool:
    return seen.memory_left < seen.reserve


def _competes(seen: Observation) -> bool:
    """Tell whether others want the CPUs too, and there are not enough."""
    if seen.own_cpus is None or seen.idle_cpus >= SHRINK_IDLE_CPUS:
        return False
    return seen.others_cpus >= OTHERS_CPUS and seen.own_cpus < FULL_CPU * seen.size
