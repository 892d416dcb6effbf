"""What engines have in common that have no loop of their own: each consumer waits for itself.

Owner of the state: the engine. It is changed by single operations only, so no lock is needed here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from orchestrator.engine.protocol.engine import OutputCallback
from orchestrator.engine.protocol.events import Broken, StageEvents
from orchestrator.engine.protocol.prints import Prints
from orchestrator.engine.protocol.status import Farewell, Traffic
from orchestrator.errors import ClosedError, OrchestratorError
from orchestrator.settings import PoolSettings


class ConsumerDriven:
    """The part of an `Engine` that needs no loop and no worker of its own."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._pid = os.getpid()
        self.token = os.urandom(16)
        self._sleepers: dict[SimpleQueue[None], None] = {}
        self._broken: OrchestratorError | None = None
        self.closed = False
        self.farewells: list[Farewell] = []
        self._prints = Prints()

    # ---- waiting ----------------------------------------------------------------------------------------------

    def _wait(self, ready: Callable[[], Any], timeout: float | None, work: Callable[[], bool]) -> None:
        """Call `work`, and show prints, until `ready()`, and sleep whenever `work` returns False.

        It ends early when the engine does, or after `timeout` seconds.
        """
        ends = None if timeout is None else time.monotonic() + timeout
        bell = SimpleQueue[None]()
        self._sleepers[bell] = None  # before `ready` is asked, so that no ring is missed
        try:
            while not (ready() or self.closed or self._broken):
                has_worked = work()
                self._prints.pass_on()
                left = None if ends is None else ends - time.monotonic()
                if left is not None and left <= 0:
                    return
                if not has_worked:
                    with suppress(Empty):
                        bell.get(timeout=left)
        finally:
            del self._sleepers[bell]
        self._prints.pass_on()

    def poll(self) -> None:
        """Show what was printed."""
        self._prints.pass_on()

    look = poll

    def wake(self) -> None:
        """Wake all threads that wait."""
        for bell in list(self._sleepers):
            bell.put(None)

    def take_over(self) -> None:
        """Do nothing, as each consumer waits for itself."""

    # ---- whether it may be used -------------------------------------------------------------------------------

    @property
    def owner_pid(self) -> int:
        """The process that made the engine."""
        return self._pid

    def refuse_if_foreign(self) -> None:
        """Raise `ClosedError` in a forked child."""
        if os.getpid() != self._pid:
            raise ClosedError(f"this pool belongs to process {self._pid}; make a new one in this forked process")

    def check_usable(self) -> None:
        """Raise the error that prevents use of the engine, if there is one."""
        self.refuse_if_foreign()
        if self._broken is not None:
            raise self._broken.with_traceback(None)
        if self.closed:
            raise ClosedError("the pool is closed; make a new one")

    @staticmethod
    def _tell_of_end(calls: Iterable[StageEvents], how: str) -> None:
        """Tell calls that the pool was "closed" or "terminated"."""
        for events in calls:
            events.append(Broken(ClosedError(f"the pool was {how} while this was still running")))

    # ---- what user code prints --------------------------------------------------------------------------------

    @property
    def forwards_output(self) -> bool:
        """Whether a callback shows what user code prints."""
        return self._prints.callback is not None

    @property
    def output_callback(self) -> OutputCallback | None:
        """The callback for what user code prints.

        None: the program's own streams show it.
        """
        return self._prints.callback

    def show_output_by(self, callback: OutputCallback | None) -> None:
        """Pass what user code prints to a callback, in the thread that waits."""
        self._prints.show_by(callback)

    def say(self, text: str) -> None:
        """Show a line of our own where the workers' prints are shown."""
        self._prints.say(text)

    # ---- what there is none of --------------------------------------------------------------------------------

    def start_timer(self, every_s: float, act: Callable[[], None]) -> Any:
        """Never called, as no size follows this machine."""
        raise NotImplementedError

    def cancel_timer(self, timer: Any) -> None:
        """Never called, as no size follows this machine."""
        raise NotImplementedError

    def notice_rebound(self) -> None:
        """Do nothing: functions see `__main__` itself, or take with them what they need of it."""

    def drop_shared(self, token: bytes) -> None:
        """Do nothing, as no worker keeps the object beyond its call."""

    def worker_pids(self, *, ready: bool = False) -> list[int]:  # noqa: ARG002 - there is none
        """Return nothing, as no process is ours to kill."""
        return []

    def traffic(self) -> dict[int, Traffic]:
        """Return nothing, as there are no pipes of ours."""
        return {}

    @property
    def buffer_bytes(self) -> int:
        """The byte budget of the pool."""
        return self._settings.buffer_bytes
