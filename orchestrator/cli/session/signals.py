"""SIGTERM as an exception, for as long as a command runs."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Terminated(BaseException):
    """SIGTERM arrived; not an Exception, so that nothing on the way takes it for a failure."""


def terminate(_number: int, _frame: object) -> None:
    """Raise it; a signal handler."""
    raise Terminated


@contextmanager
def signals() -> Iterator[None]:
    """Turn SIGTERM into an exception for as long as the run goes on."""
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        for number, handle in old.items():
            signal.signal(number, handle if handle is not None else signal.SIG_DFL)
