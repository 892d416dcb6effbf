"""The files in memory that results of calls stay in: made empty for a worker to fill, closed when nobody needs them.

Runs in the coordinator process, in one thread. `workers.sync.kept` is what the workers do with them. Owner of the
files: `KeptResults`.
"""

from __future__ import annotations

import os
import resource
from typing import Any

from orchestrator.machine import own_descriptors
from workers.pickling import by_value
from workers.sync.kept import FILE_NAME, Kept, Slot, keep


class KeptResults:
    """The results of calls that are not there yet, and of those that somebody still needs.

    Of many large ones, as many as half of the descriptors that this process may open stay in files; further ones are
    kept in this process.
    """

    def __init__(self) -> None:
        self._open: dict[int, Slot] = {}
        self._unused: list[Slot] = []
        self._most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2

    def slot(self) -> Slot | None:
        """Return an empty file for a result, or None where there can't be one."""
        if self._unused:
            return self._unused.pop()
        if len(self._open) >= self._most:
            return None
        try:
            fd = os.memfd_create(FILE_NAME)
        except OSError:
            return None
        own_descriptors.own(fd)
        slot = self._open[fd] = Slot(os.getpid(), fd, os.fstat(fd).st_ino)
        return slot

    def keep(self, obj: Any) -> Kept:
        """Keep an object of this process, for all calls that need it.

        Raises:
            Exception: whatever says best why it can't be pickled.
        """
        slot = self.slot()
        try:
            kept = keep(obj, slot, by_value.dumps)
        except BaseException:
            self.give_back(slot)
            raise
        if kept.slot is None:
            self.give_back(slot)
        return kept

    def give_back(self, slot: Slot | None) -> None:
        """Take back a file that no result is in, whoever has begun to write one."""
        if slot is not None:
            os.ftruncate(slot.fd, 0)
            self._unused.append(slot)

    def drop(self, kept: Kept) -> None:
        """Free the memory of a result, once those who have mapped it let go of it, too."""
        if kept.slot is not None:
            self._close(kept.slot)

    def close(self) -> None:
        """Drop all."""
        for slot in list(self._open.values()):
            self._close(slot)

    def _close(self, slot: Slot) -> None:
        if self._open.pop(slot.fd, None) is not None:
            own_descriptors.disown(slot.fd)
            os.close(slot.fd)
