"""Decides what to do about the memory of the workers and the machine.

Pure: figures in, actions out.

    a worker above its limit            -> it finishes what it has and is replaced; far above: it is ended
    less free than `free_bytes`         -> nothing more is sent
    less free than half of that         -> the youngest work is ended, and run again later; one worker always works on

The second half is GNU parallel's --memfree, with its figures (its manual, "--memfree size").
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

_FAR_OVER = 1.25
"""A worker above its limit by this factor is killed at once."""


class MemoryAction(Enum):
    """The action on a worker."""

    RETIRE = "it gets nothing more, and is replaced when it has finished what it has"
    END = "it is so far above its limit that it is not waited for"
    END_LATER_AGAIN = "its work is the youngest, and the machine's memory is short: it runs again later"
    GIVE_UP_POOL = "it is above its limit before it has run anything: no worker could do better"


class WorkerMemory(NamedTuple):
    """One worker at this moment."""

    key: int
    own_bytes: int
    """Memory that it shares with nobody."""
    works_on: int | None
    """The number of the chunk that it has had for longest; chunks are numbered as they are sent. None: it has none."""
    starting: bool = False
    """It has not said that it is ready."""
    going: bool = False
    """It was ended already, and is not gone yet."""
    in_step: bool = False
    """It works on a step of all workers: to end it would end the work of all, which would only start again."""


class MemoryJudge:
    """Decides look by look, remembering only whether memory is short."""

    def __init__(self, limit_bytes: int | None, free_bytes: int | None) -> None:
        """Take the limit of a worker, and the memory to keep free on the machine.

        None: no limit.
        """
        self._limit_bytes = limit_bytes
        self._free_bytes = free_bytes
        self.short = False
        """Whether nothing is to be sent, unless nothing is being worked on at all."""

    def judge(self, workers: Sequence[WorkerMemory], available_bytes: int | None) -> list[tuple[int, MemoryAction]]:
        """Return what is to be done with which workers.

        Args:
            workers: all workers.
            available_bytes: what the machine could still give; None: it was not looked at.
        """
        deeds = [(each.key, action) for each in workers if (action := self._of_one(each)) is not None]
        if self._free_bytes is not None and available_bytes is not None:
            self.short = available_bytes < self._free_bytes
            if available_bytes < self._free_bytes / 2:
                deeds += self._relief(workers, {key for key, _ in deeds})
        return deeds

    def _of_one(self, worker: WorkerMemory) -> MemoryAction | None:
        limit = self._limit_bytes
        if limit is None or worker.going or worker.own_bytes <= limit:
            return None
        if worker.starting:
            return MemoryAction.GIVE_UP_POOL
        far = worker.own_bytes > limit * _FAR_OVER and worker.works_on is not None
        return MemoryAction.END if far else MemoryAction.RETIRE

    @staticmethod
    def _relief(workers: Sequence[WorkerMemory], judged: set[int]) -> list[tuple[int, MemoryAction]]:
        """Choose the youngest work to end.

        None while one is ending, whose memory comes free first, and never the last.
        """
        if any(each.going for each in workers):
            return []
        working = {each.works_on: each for each in workers if each.works_on is not None}
        may_go = {number: each.key for number, each in working.items() if not each.in_step}
        if len(working) < 2 or judged or not may_go:
            return []
        return [(may_go[max(may_go)], MemoryAction.END_LATER_AGAIN)]
