"""Whose turn it is to drive the calls of a pool: that of a caller who waits for one of them, or of a thread.

A caller that waits drives: it sends the call and takes its result, and no other thread has to be woken. The thread
drives where somebody else waits too, where calls wait for a worker, where callbacks or `concurrent.futures.wait` are to
be told, and where a program's signal handlers could interrupt the caller. It also takes over what nobody has driven for
a moment, such as a call whose result is asked for later.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from threading import get_ident

from orchestrator.engine.protocol.interrupts import are_handled_here

_LOOK_S = 0.005
"""How often the thread looks whether calls are driven, while there are any or were just now."""
_LOOKS = 10
"""How often it looks at none before it sleeps until it is told."""


class Turns:
    """Owns the thread, and who drives."""

    def __init__(self, has_work: Callable[[], bool], turn: Callable[[], None], wake: Callable[[], None]) -> None:
        """Start without a thread.

        Args:
            has_work: whether there are calls that are not done; asked under the lock.
            turn: takes a turn, in the thread; raises nothing.
            wake: ends the driver's wait, so that it looks whether it is to leave.
        """
        self.lock = threading.RLock()
        # Unlocked while there is news for the thread. Telling it takes no lock: the caller may hold a future's lock,
        # which a driver takes under `lock`, or may be interrupted by a signal handler that waits for a call.
        self._news = threading.Lock()
        self._news.acquire()
        self._has_work, self._turn, self._wake = has_work, turn, wake
        self._driver: int | None = None
        self._count = 0
        self._sleeps = self._has_thread = self._closing = self._ended = False
        self.needed = False
        """Whether the thread is to drive until nothing is left to do."""
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it was started. Under the lock."""
        if not self._has_thread:
            self._has_thread = True  # first: a signal handler may submit something in the middle of this
            self.thread = threading.Thread(target=self._run, name="orchestrator-futures", daemon=True)
            self.thread.start()

    @property
    def are_mine(self) -> bool:
        """Whether this thread drives."""
        return self._driver == get_ident()

    @property
    def is_interrupted(self) -> bool:
        """Whether this thread holds the lock, which means that a signal handler interrupted its holder."""
        return bool(self.lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001

    def take(self) -> bool:
        """Let this thread drive, and return whether it may."""
        if self.needed or are_handled_here():
            self.need()
            return False
        with self.lock:
            if self._driver is None and not self.needed:
                self._driver = get_ident()
                return True
        return False

    def leave(self, *, needed: bool) -> None:
        """Let others drive.

        `needed`: there is something to do that nobody waits for.
        """
        with self.lock:
            self._driver = None
            self._count += 1
            self.needed = self.needed or needed
            if self.needed or self._closing or self._sleeps:  # a thread that sleeps begins to look
                self._tell_thread()

    def tell(self) -> None:
        """Have whoever drives see that there is something new.

        From any thread, and from a signal handler. Does not take `lock`.
        """
        if self._driver is None:
            self._tell_thread()
        else:
            self._wake()

    def need(self) -> None:
        """Have the thread drive until nothing is left to do.

        From any thread, and from a signal handler. Does not take `lock`.
        """
        if not self.needed:
            self.needed = True
            self.tell()

    def _tell_thread(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is free: the thread has not looked since it was told
            self._news.release()

    def close(self) -> None:
        """Let the thread end when nothing is left to do."""
        self._closing = True
        self._tell_thread()

    def end(self) -> None:
        """Let the thread end now."""
        self._ended = True
        self.close()

    def join(self, timeout: float | None) -> None:
        """Wait until the thread has ended, unless this is it."""
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join(timeout)

    def _run(self) -> None:
        while self._wait_for_work():
            self._turn()

    def _wait_for_work(self) -> bool:
        """Sleep until it is this thread's turn, or return False if it is to end."""
        looks, seen = 0, -1
        while not self._ended:
            with self.lock:
                if self._has_work():
                    looks = 0
                    is_left = self._count == seen  # nobody has driven since the last look
                    if self.are_mine or (self._driver is None and (self.needed or self._closing or is_left)):
                        self._driver, self.needed = get_ident(), True
                        return True
                    seen = self._count
                else:
                    if self.are_mine:
                        self._driver = None
                    self.needed = False
                    if self._closing:
                        return False
                    looks += 1
                self._sleeps = looks > _LOOKS
            self._news.acquire(timeout=-1 if self._sleeps else _LOOK_S)
            self._sleeps = False
        return False
