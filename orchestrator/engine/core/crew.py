"""Decides which workers may run now, and which may be started.

Pure: it is told what happens, and answers what to do.

                joined          may run            retired                  holds nothing          gone
    (started) --------> WAITING <------> ACTIVE -----------> FINISHING ----------------> LEAVING -------->
                            ^               |                    |
                            +---- HELD <----+                    +---- wanted again (resize) ----> HELD

A pool of `size` workers has `size` places. A worker that retires finishes what it holds, and its place's next worker is
started meanwhile, but only WAITS until one less is running. So:

- never more than `size` workers run something: nothing begins in any worker while `size` others are at work, whatever
  was recycled, killed or resized meanwhile. (After a shrink more may be at work; nothing begins while they are.)
- never more than 2 x `size` workers exist: none is started beyond that, however slowly those before it leave.

A worker that is at a step of all workers does not count as running: it waits there for those that may not have begun.

Owner: the supervisor, under the coordinator's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from orchestrator.errors import InternalError


class Standing(Enum):
    """The limits of a worker."""

    WAITING = "holds a place, and may not begin anything yet"
    ACTIVE = "holds a place, and takes chunks"
    HELD = "holds a place, and may finish what it has: too many are at work"
    FINISHING = "gave up its place, and finishes what it has"
    LEAVING = "has nothing, and goes"


_PLACED = {Standing.WAITING, Standing.ACTIVE, Standing.HELD}
_SETTLED = {Standing.ACTIVE, Standing.LEAVING}


class Crew:
    """The workers of one pool, each named by a number of its own (`key`), and the places that they hold."""

    def __init__(self, size: int, holds: Callable[[int], bool], steps: Callable[[int], bool]) -> None:
        """Start without workers.

        Args:
            size: how many workers are wanted.
            holds: tells whether a worker holds any chunk.
            steps: tells whether the chunk that it holds for longest is its part of a step of all workers.
        """
        self.size = size
        self._holds, self._steps = holds, steps
        self._standing: dict[int, Standing] = {}
        self._holders: dict[int, int] = {}  # key by place
        self._place: dict[int, int] = {}  # place by key
        self.settled = True
        """Whether nobody waits, is held or finishes: then the end of a chunk changes nothing here."""

    # ---- coming ---------------------------------------------------------------------------------------------------

    def wanted(self) -> list[int]:
        """Return the places that a worker is to be started for now, as far as so many may exist."""
        empty = [place for place in range(self.size) if place not in self._holders]
        return empty[: max(0, 2 * self.size - len(self._standing))]

    @property
    def lacks(self) -> bool:
        """Whether a place stays empty because leaving workers take long."""
        return len(self._holders) < self.size and not self.wanted()

    def joined(self, key: int, place: int) -> None:
        """Record that a worker was started for a place."""
        if place in self._holders:
            raise InternalError(f"place {place} was given to two workers")
        self._holders[place], self._place[key] = key, place
        self._standing[key] = Standing.WAITING

    # ---- going ----------------------------------------------------------------------------------------------------

    def retire(self, key: int) -> None:
        """Retire a worker: it gets nothing more, and leaves when it has finished what it holds."""
        if self._standing[key] in _PLACED:
            self._standing[key] = Standing.FINISHING
            del self._holders[self._place[key]]

    def leaves(self, key: int) -> None:
        """Record that a retired worker holds nothing more, and was told to leave."""
        if self._standing[key] is not Standing.FINISHING:
            raise InternalError(f"worker {key} can't leave: it {self._standing[key].value}")
        self._standing[key] = Standing.LEAVING

    def gone(self, key: int) -> None:
        """Record that a worker has ended."""
        if self._standing.pop(key) in _PLACED:
            del self._holders[self._place[key]]
        del self._place[key]

    def resize(self, size: int) -> list[int]:
        """Set the wanted number of workers, and return those to be retired."""
        self.size = size
        return [key for place, key in self._holders.items() if place >= size]

    def take_back(self, key: int) -> bool:
        """Return its place to a worker that is leaving, if it is wanted and still empty."""
        place = self._place[key]
        if self._standing[key] is not Standing.FINISHING or place >= self.size or place in self._holders:
            return False
        self._standing[key], self._holders[place] = Standing.HELD, key
        return True

    # ---- who may run ----------------------------------------------------------------------------------------------

    def standing(self, key: int) -> Standing:
        """Return what a worker may do."""
        return self._standing[key]

    def balance(self) -> list[tuple[int, Standing]]:
        """Allow as many workers to begin as may, and return those whose standing changed.

        To be called after everything above, and, unless `settled`, whenever a worker has finished a chunk.
        """
        standing = self._standing
        free = self.size - sum(map(self._runs, standing))
        changed: list[tuple[int, Standing]] = []
        for key in sorted(self._holders.values(), key=self._turn):
            at_work = self._runs(key)
            if free > 0 or (at_work and free == 0):
                now = Standing.ACTIVE
            else:
                now = Standing.WAITING if standing[key] is Standing.WAITING or not self._holds(key) else Standing.HELD
            free -= not at_work
            if now is not standing[key]:
                standing[key] = now
                changed.append((key, now))
        self.settled = _SETTLED.issuperset(standing.values())
        return changed

    def _runs(self, key: int) -> bool:
        """Whether a worker may be running something, other than a step of all workers."""
        return self._standing[key] is not Standing.WAITING and self._holds(key) and not self._steps(key)

    def _turn(self, key: int) -> tuple[bool, bool, int]:
        """Return the sort key: running workers first, then those that may begin."""
        now = self._standing[key]
        return not self._runs(key), now is not Standing.ACTIVE, self._place[key]
