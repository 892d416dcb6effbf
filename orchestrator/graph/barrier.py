"""A barrier between two stages of a stream, which holds everything until all has arrived."""

from __future__ import annotations

import os
import pickle
import tempfile
from contextlib import AbstractContextManager, suppress
from typing import IO, Any

from orchestrator.errors import OrchestratorError
from orchestrator.graph.flow.node import ROOM, Node
from orchestrator.graph.flow.segment import on_disk

HELD_ITEMS = 1 << 16
"""More items than this are written to a temporary file."""


class BarrierNode(Node):
    """Holds all items until its input has ended.

    Past a limit they are in a temporary file without a name.

    In a run with checkpoints the file has a name, and is only ever appended to: a checkpoint notes how far.

    Emits when: its input has ended.
    Backpressures when: never before the end: it has to take everything.
    Completes when: everything was passed on.
    Fails when: an item can't be pickled, or the disk is full.
    """

    __slots__ = ("_file", "_held", "_held_items", "_path", "_written")

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._held: list[list[Any]] = []
        self._held_items = 0
        self._file: IO[bytes] | None = None
        self._path: str | None = None
        self._written = 0  # lists in the file, not yet read back

    def capacity(self, port: int) -> int:  # noqa: ARG002 - one port
        """Return room for another list, whatever the consumer says."""
        return ROOM

    def receive(self, items: list[Any], port: int) -> None:  # noqa: ARG002 - one port
        """Keep the items."""
        self._held.append(items)
        self._held_items += len(items)
        if self._held_items > HELD_ITEMS:
            with self._on_disk():
                if self._file is None:
                    self._file = self._opened()
                for each in self._held:
                    pickle.dump(each, self._file, pickle.HIGHEST_PROTOCOL)
                self._file.flush()
            self._written += len(self._held)
            self._held, self._held_items = [], 0

    def _opened(self) -> IO[bytes]:
        if self._path is None:
            return tempfile.TemporaryFile(prefix="orchestrator-")
        from orchestrator.sinks.disk.new_file import begin  # noqa: PLC0415 - only for runs with checkpoints

        return open(begin(self._path, 0o600), "w+b")  # noqa: PTH123 - closed by `close`

    def _on_disk(self) -> AbstractContextManager[None]:
        return on_disk(f"the items waiting at {self.name!r}", self._path)

    def keep_written(self, place: str, secret: str) -> None:
        """Use a file that a later run finds."""
        super().keep_written(place, secret)
        self._path = f"{place}-held"

    def snapshot(self) -> Any:
        """Make the file durable, and return its length and what is not in it."""
        at = size = 0
        if self._file is not None:
            with self._on_disk():
                os.fdatasync(self._file.fileno())
            from orchestrator.sinks.disk.new_file import same_file  # noqa: PLC0415 - only for runs with checkpoints

            if self._path is not None and not same_file(self._file.fileno(), self._path):
                raise OrchestratorError(
                    f"somebody else has removed or replaced {self._path}, which holds the items waiting at "
                    f"{self.name!r}; the run can't be resumed"
                )
            at, size = self._file.tell(), os.fstat(self._file.fileno()).st_size
        return {"held": self._held, "written": self._written, "at": at, "size": size}

    def restore(self, state: Any) -> None:
        """Continue with the file as it was then."""
        self._held, self._written = state["held"], state["written"]
        self._held_items = sum(map(len, self._held))
        if self._written and self._path is not None:  # read back to its end, it may be removed already
            from orchestrator.checkpoint.trust import refuse_untrusted  # noqa: PLC0415
            from orchestrator.sinks.disk.new_file import reopen  # noqa: PLC0415 - only for runs with checkpoints

            try:
                self._file = open(reopen(self._path), "r+b")  # noqa: PTH123, SIM115 - closed by `close`
                for path, fd in ((os.path.dirname(self._path), None), (self._path, self._file.fileno())):  # noqa: PTH120
                    refuse_untrusted(path, f"the items waiting at {self.name!r}", fd)
                found = os.fstat(self._file.fileno()).st_size
                if found < state["size"]:
                    raise self._gone(f"it has {found:,} bytes of {state['size']:,}")
                self._file.truncate(state["size"])
                self._file.seek(state["at"])
            except OSError as error:
                raise self._gone(error.strerror) from None

    def _gone(self, why: str | None) -> OrchestratorError:
        return OrchestratorError(f"can't resume from {self._path}, the items waiting at {self.name!r}: {why}")

    def end(self, port: int) -> None:
        """Note the end of the input.

        The items follow as the consumer takes them.
        """
        self.ended[port] = True
        self._held.reverse()
        if self._file is not None:
            with self._on_disk():
                self._file.seek(0)

    def pump(self) -> bool:
        """Pass the items on, once all are here."""
        outlet = self.outlets[0]
        moved = super().pump()
        while self.ended[0] and not outlet.ended and outlet.capacity() > 0:
            moved = True
            if self._written and self._file is not None:
                self._written -= 1
                outlet.push(pickle.load(self._file))
            elif self._held:
                outlet.push(self._held.pop())
            else:
                outlet.end()
        return moved

    def close(self) -> None:
        """Remove the file, unless a later run is to resume it."""
        self._held = []
        if self._file is not None:
            self._file.close()
        if self._path is not None and not self.failed:
            with suppress(FileNotFoundError):
                os.unlink(self._path)  # noqa: PTH108
