"""A call whose functions run in this process, for engines that run them here."""

from __future__ import annotations

from typing import Any

from orchestrator.engine.protocol.events import StageEvents
from orchestrator.engine.protocol.spilled import SpillFile
from workers.functions.calls import Runner
from workers.functions.runner import CallSpec
from workers.transport.wire import Flag


class Live:
    """An `Encoded`, and a `Body`: the object itself."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    @property
    def size(self) -> int:
        """Return 0, as nothing is copied."""
        return 0

    @property
    def buffers(self) -> tuple[Any, ...]:
        """None."""
        return ()

    def kept(self) -> Live:
        """Return itself."""
        return self

    def decode(self) -> Any:
        """Return the object."""
        return self.value

    def discard(self) -> None:
        """Do nothing, as there is nothing to free."""


class OpenCall:
    """An open call, and the receiver of its events."""

    def __init__(self, events: StageEvents, spec: CallSpec, name: str) -> None:
        self.events = events
        self.spec = spec
        self.name = name
        self.runner: Runner | None = None
        """Made for the first chunk."""
        self._spill: SpillFile | None = None

    def ask_file(self) -> tuple[str, str]:
        """Make a file for results of a chunk that exceed memory.

        Returns its path, or why there is none.
        """
        try:
            self._spill = SpillFile()
        except OSError as error:
            return "", error.strerror or str(error)
        return self._spill.path, ""

    def take_file(self) -> SpillFile | None:
        """Return the file of the chunk that has run, if it needed one."""
        spill, self._spill = self._spill, None
        return spill

    def answer(self, done: Any) -> tuple[Any, int]:
        """Return the frame that a worker would send for its runner's results, and the flags.

        Of fused steps the results are grouped by item if one failed or is on disk.
        """
        spec = self.spec
        if isinstance(done, tuple):
            results, failures = done
            if failures:
                return done, Flag.FAILED
            return [each for each in results if each is not None] if spec.drop_none else results, 0
        flags = (Flag.FAILED if done.failures else 0) | (Flag.SPILLED if done.spilled else 0)
        return (done.by_item(stop=spec.stop_at_failure) if flags else done.flat(), done.failures, done.tally), flags
