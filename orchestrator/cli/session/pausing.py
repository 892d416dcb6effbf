"""A run with checkpoints that is asked to stop: the first signal lets what runs finish, the second ends it at once."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.cli.session.signals import Terminated

if TYPE_CHECKING:
    from orchestrator.graph.runner import Runner


class Asked:
    """Which signal asked the run to stop. The signal handler runs in the main thread of the coordinator."""

    def __init__(self) -> None:
        """Nothing has asked yet."""
        self.signal: int | None = None

    def listen(self, engine: Runner, grace_s: float) -> None:
        """At the first signal let what runs finish, for so many seconds, and save; at the second end at once."""

        def ask(number: int, _frame: object) -> None:
            if self.signal is not None:
                raise KeyboardInterrupt if number == signal.SIGINT else Terminated
            self.signal = number
            engine.pause(grace_s)

        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(ValueError):  # not in the main thread
                signal.signal(number, ask)

    @property
    def stopped_by(self) -> signal.Signals:
        """The signal that ended the run."""
        return signal.Signals(self.signal or signal.SIGINT)
