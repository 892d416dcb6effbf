"""What user code printed in workers, until a thread that waits for them shows it.

Owner of the state: the engine. It is changed by single operations only, in any thread.
"""

from __future__ import annotations

import sys
from collections import deque

from orchestrator.engine.protocol.engine import OutputCallback
from orchestrator.machine.terminal import for_stream, visible


class Prints:
    """What was printed and not shown yet."""

    def __init__(self) -> None:
        self.callback: OutputCallback | None = None
        """Shows what is printed; None: the program's own streams do."""
        self._printed: deque[tuple[int, str, str]] = deque()

    def add(self, worker: int, stream: str, text: str) -> None:
        """Keep what a worker printed."""
        self._printed.append((worker, stream, text))

    def say(self, text: str) -> None:
        """Keep a line of our own."""
        self.add(-1, "stderr", f"orchestrator: {visible(text)}\n")

    def show_by(self, callback: OutputCallback | None) -> None:
        """Show prints by this callback from now on."""
        self.callback = callback

    def taken(self) -> list[tuple[int, str, str]]:
        """Return all that was printed, which is not shown here then."""
        found = []
        while (printed := self._next()) is not None:
            found.append(printed)
        return found

    def pass_on(self) -> None:
        """Show what was printed, in this thread. Called without a lock."""
        while (printed := self._next()) is not None:
            worker, stream, text = printed
            if self.callback is not None:
                self.callback(worker, stream, text)
                continue
            target = sys.stdout if stream == "stdout" else sys.stderr
            if target is not None and not target.closed:
                target.write(for_stream(text, target))

    def _next(self) -> tuple[int, str, str] | None:
        try:
            return self._printed.popleft()
        except IndexError:  # none, or another thread took it
            return None
