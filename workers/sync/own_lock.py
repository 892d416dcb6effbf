"""A lock that raises where its own thread would wait for it, as a signal handler may try to."""

from __future__ import annotations

import threading


class OwnLock:
    """A `threading.Lock` with an owner."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # knows its owner, and takes and notes him in one step

    def acquire(self) -> None:
        """Acquire the lock, waiting while another thread has it.

        Raises:
            RuntimeError: this thread has it already.
        """
        if self._lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
            msg = (
                "a signal handler used a barrier or a resource pool that the thread it interrupted was working "
                "on: set a flag in the handler, and use it where the flag is read"
            )
            raise RuntimeError(msg)
        self._lock.acquire()

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
