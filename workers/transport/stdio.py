"""Sends prints of user code to the coordinator, line by line, so that no bar is torn."""

from __future__ import annotations

import io
import os
import pickle
from typing import Any

from workers.transport.lane import WorkerLane
from workers.transport.wire import Kind, pack

_MAX_LINE = 1 << 16


class ForwardedStream(io.TextIOBase):
    """The `sys.stdout` or `sys.stderr` of a worker, which sends whole lines at once."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self, lane: WorkerLane, name: str, fd: int) -> None:
        self._lane = lane
        self._name = name
        self._fd = fd
        self._line = ""
        self._told = 0  # characters of the line that the coordinator knows already
        self._pid = os.getpid()

    def writable(self) -> bool:
        """Return True, as it can be written to."""
        return True

    def fileno(self) -> int:
        """Return the inherited descriptor, for subprocesses of the user's."""
        return self._fd

    def write(self, text: str, /) -> int:
        """Take `text`, and pass on what is now whole lines."""
        if os.getpid() != self._pid:  # a child that user code forked: the lane is not its own
            os.write(self._fd, text.encode("utf-8", "replace"))
            return len(text)
        self._line += text
        if "\n" in text or len(self._line) > _MAX_LINE:
            cut = self._line.rfind("\n") + 1 or len(self._line)
            whole, self._line, self._told = self._line[:cut], self._line[cut:], 0
            self._pass_on(whole)
        return len(text)

    @property
    def buffer(self) -> _Bytes:
        """The byte stream below, as that of `sys.stdout`."""
        return _Bytes(self)

    def reconfigure(self, **_options: object) -> None:
        """Do nothing, as lines leave at once, and the coordinator encodes them."""

    def flush(self) -> None:
        """Do nothing, as an unfinished line waits for its end, or for the end of the worker."""

    def finish(self) -> None:
        """Pass on an unfinished last line."""
        if self._line:
            whole, self._line, self._told = self._line + "\n", "", 0
            self._pass_on(whole)

    def tell_rest(self) -> None:
        """Send an unfinished line, which is shown only if this worker never finishes it."""
        if len(self._line) > self._told:
            message: Any = (self._name, self._line[self._told :], False)
            self._told = len(self._line)
            self._lane.send([pack(Kind.OUTPUT, pickle.dumps(message))])

    def _pass_on(self, text: str) -> None:
        message: Any = (self._name, text, True)
        self._lane.send([pack(Kind.OUTPUT, pickle.dumps(message))])
        self._lane.flush()


class _Bytes(io.BufferedIOBase):
    """The bytes' side of a forwarded stream."""

    def __init__(self, text: ForwardedStream) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._text.fileno()

    def write(self, data: Any, /) -> int:
        written = bytes(data)
        self._text.write(written.decode("utf-8", "backslashreplace"))
        return len(written)
