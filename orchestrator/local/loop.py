"""The loop of a coordinator, which whoever waits for results runs, one thread at a time.

Others sleep until the driver has made a turn, and one of them takes over when it leaves. So every wait has an owner who
will end it.

A signal handler may interrupt the main thread anywhere and call the pool again. If it interrupted the wait, its call
drives the loop in place of the interrupted frame, and so may any other thread that finds the driver standing still: a
turn that was overtaken finds stale events, which do no harm. If it interrupted a frame that holds the lock, state may
be half changed: then callers look at `is_interrupted` and refuse, or have a thread wait for the lock.

Owner of the state: this class, under `lock`, which also guards all that is changed in a turn.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from orchestrator.engine.protocol.interrupts import HeldBack
from orchestrator.errors import ClosedError, InternalError, OrchestratorError
from orchestrator.local.transport.lane_io import LaneIO, Occurred

_STOP_GRACE_S = 5.0
_STILL_S = 0.1
"""A driver that left ready events alone for so long stands still: a signal handler interrupted it."""


class Handle(Protocol):
    """Handles what a wait returned."""

    def __call__(self, occurred: Occurred, *, looks: bool) -> None:
        """Handle it.

        `looks`: whoever waited did not really wait, and continues at once.
        """


class Damage:
    """Notes what is raised in the middle of a change. Entered under the lock, as often as wanted."""

    __slots__ = ("_note",)

    def __init__(self, note: Callable[[BaseException], None]) -> None:
        self._note = note

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None:
            self._note(error)


class Loop:
    """The lock of a coordinator, and which of its waiting threads is in the one wait."""

    def __init__(
        self,
        io: LaneIO,
        *,
        begin: Callable[[float | None], float | None],
        handle: Handle,
        broke: Callable[[OrchestratorError], None],
    ) -> None:
        """Start without a driver.

        The functions are called under the lock.

        Args:
            io: has the wait.
            begin: called before a wait of so many seconds; returns how many it may take.
            handle: called with what the wait told about, and whether whoever waited only looks.
            broke: told why nothing can continue.
        """
        self.lock = threading.RLock()
        self.damage = Damage(self._note_damage)
        # `with` takes the lock, never the condition: an interrupt in its `__enter__` or `__exit__` would keep the lock.
        self._changed = threading.Condition(self.lock)
        self._io = io
        self._begin, self._handle, self._broke = begin, handle, broke
        self._driver: int | None = None
        """The thread that is in the wait, or on its way there."""
        self.turns = 0
        """Begun so far."""
        self._overtaken: set[int] = set()
        """Turns whose frames were interrupted in the wait, while others drive."""
        self._waiters = 0
        self._stands_in = False
        """Whether the driver is there only until somebody waits for something."""

    # ---- driving ----------------------------------------------------------------------------------------------

    def drive(self, may_leave: Callable[[], Any], timeout: float | None = None, *, looks: bool = False) -> None:
        """Take turns, or wait for the thread that does, until `may_leave()` or for `timeout` seconds.

        `looks` is passed on to what handles a turn.
        """
        if self._driver == threading.get_ident():
            self.take_over()
        ends = None if timeout is None else time.monotonic() + timeout
        turn = 0
        try:
            while True:
                with self.lock:
                    if self._stands_in:
                        self._stands_in = False
                        self.wake()
                    if may_leave():
                        break
                    left = None if ends is None else max(0.0, ends - time.monotonic())
                    if self._driver is None:
                        turn, wait_s = self._begin_turn(left)
                    else:
                        turn = 0
                        self._wait_for_driver(left)
                if turn:
                    self._turn(turn, wait_s, looks=looks)
                if left is not None and left <= 0:
                    break
        except BaseException:
            with self.lock:
                self._leave_turn(turn)
            raise

    def take_turn(self) -> None:
        """Take one turn without a wait, in place of the driver if there is one. Under the lock."""
        with self._breaking():
            if self._driver is not None:
                self._overtake()
            turn, _ = self._begin_turn(0)
            occurred = self._io.wait(0)
            self._leave_turn(turn)
            self._handle(occurred, looks=False)

    def stand_in(self, goes_on: Callable[[], bool]) -> None:
        """Take turns while nobody waits for anything and `goes_on()`, which is asked under the lock."""
        with self.lock:
            self._stands_in = self._driver is None
        while True:
            with self.lock:
                if not (self._stands_in and self._driver is None and goes_on()):
                    self._stands_in = False
                    return
                with self._breaking():
                    turn, wait_s = self._begin_turn(None)
            with self._breaking():
                self._turn(turn, wait_s, looks=False)

    @contextlib.contextmanager
    def _breaking(self) -> Iterator[None]:
        """Report what is raised in a thread that nobody waits in."""
        try:
            yield
        except OrchestratorError as error:
            self._broke(error)
        except BaseException as error:
            self._broke(InternalError(f"the loop raised {type(error).__name__}"))

    def _begin_turn(self, timeout: float | None) -> tuple[int, float | None]:
        """Become the driver, and return the number of the turn and how long it may wait.

        Called under the lock.
        """
        wait_s = self._begin(timeout)
        self._driver = threading.get_ident()
        self.turns += 1
        return self.turns, wait_s

    def _turn(self, turn: int, timeout: float | None, *, looks: bool) -> None:
        """Take one turn: wait for lanes, sentinels and the wake-up, then handle what came.

        Called without the lock.
        """
        try:
            if self._overtaken:
                occurred = self._io.wait_beside(_STILL_S if timeout is None else min(timeout, _STILL_S))
            else:
                occurred = self._io.wait(timeout)
        except (OSError, ValueError):
            if not self._io.closed:
                raise
            occurred = []  # a signal handler closed the pool, and the selector, in the middle of the wait
        with HeldBack(), self.lock, self.damage:
            self._leave_turn(turn)
            self._handle(occurred, looks=looks)

    def _leave_turn(self, turn: int) -> None:
        self._overtaken.discard(turn)
        if self.turns == turn and self._driver == threading.get_ident():  # else another has taken over
            self._driver = None
        if self._waiters:
            self._changed.notify_all()

    def _wait_for_driver(self, timeout: float | None) -> None:
        """Sleep until the driver has made a turn, or take its place if it stands still.

        Under the lock.
        """
        turn = self.turns
        may_be_interrupted = self._driver == threading.main_thread().ident  # signal handlers run there only
        wait_s = timeout if not may_be_interrupted or (timeout is not None and timeout < _STILL_S) else _STILL_S
        self._waiters += 1
        try:
            told = self._changed.wait(wait_s)
        finally:
            self._waiters -= 1
        if may_be_interrupted and not told and self.turns == turn and self._io.has_occurred:
            self._overtake()

    # ---- who drives -------------------------------------------------------------------------------------------

    @property
    def is_driven(self) -> bool:
        """Whether a thread is in the wait.

        It may stand still there, interrupted by a signal handler.
        """
        return self._driver is not None

    @property
    def is_overtaken(self) -> bool:
        """Whether frames that were interrupted in the wait have not continued yet.

        The wake-up is theirs.
        """
        return bool(self._overtaken)

    def take_over(self) -> None:
        """Let others drive, as a signal handler interrupted this thread's wait."""
        with self.lock:
            if self._driver == threading.get_ident():
                self._overtake()
                self._changed.notify_all()

    def _overtake(self) -> None:
        """Free the driver's place, and make its frame leave the wait as soon as it continues.

        Under the lock.
        """
        self._driver = None
        self._overtaken.add(self.turns)
        self.wake()

    def wake(self) -> None:
        """Wake the driver, so that it looks at what has changed."""
        self._io.wakeup.ring()

    def notify(self) -> None:
        """Wake those who sleep until the driver has made a turn.

        Under the lock.
        """
        self._changed.notify_all()

    def leave_all(self) -> None:
        """Make whoever drives leave the wait for good.

        Under the lock.
        """
        if self._driver == threading.get_ident():
            self.take_over()
        if self._driver is not None:
            self.wake()
            self._waiters += 1
            try:
                self._changed.wait_for(lambda: self._driver is None, _STOP_GRACE_S)
            finally:
                self._waiters -= 1

    # ---- the lock ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock for a change that must not be left half done.

        What runs for each chunk says `with HeldBack(), loop.lock, loop.damage:`, which does the same at once.
        """
        with HeldBack(), self.lock, self.damage:
            yield

    def _note_damage(self, error: BaseException) -> None:
        """Break the pool, as something raised in the middle of a change of its state.

        Mostly that is a signal handler.
        """
        if not isinstance(error, OrchestratorError):
            self._broke(
                ClosedError(
                    f"{type(error).__name__} interrupted the pool in the middle of its own work, so it can't continue; "
                    "make a new one"
                )
            )

    @property
    def is_interrupted(self) -> bool:
        """Whether this thread holds the lock, which means that a signal handler interrupted its holder."""
        return bool(self.lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001

    def renew(self) -> None:
        """Take new locks, in a forked child: the thread that holds one does not exist there."""
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
