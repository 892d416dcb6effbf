"""Holds back Ctrl-C while the pool changes its state, so that the pool stays usable.

Only Python's own handler of SIGINT is held back, and only once: a second Ctrl-C is raised where it comes. A handler of
the program's own runs as always.
"""

from __future__ import annotations

import threading
from _signal import (  # type: ignore[import-not-found]  # those of `signal` wrap enums, which takes ten times as long
    getsignal,
    signal,
)
from signal import SIGINT, default_int_handler
from types import FrameType

_SIGINT = int(SIGINT)


class HeldBack:
    """Holds back a KeyboardInterrupt of the main thread while it is entered.

    It may be entered within another.
    """

    __slots__ = ("_came", "_holds")

    def __init__(self) -> None:
        self._holds = self._came = False

    def __enter__(self) -> None:
        is_main = threading.get_ident() == threading.main_thread().ident  # signal handlers run in no other
        if is_main and getsignal(_SIGINT) is default_int_handler:
            signal(_SIGINT, self._note)
            self._holds = True

    def __exit__(self, *_error: object) -> None:
        if self._holds:
            signal(_SIGINT, default_int_handler)
            if self._came:
                raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._came:
            default_int_handler(number, frame)
        self._came = True
