"""Holds back Ctrl-C while the pool changes its state, so that the pool stays usable.

Only Python's own handler of SIGINT is held back, and only once: a second Ctrl-C is raised where it comes. A handler of
the program's own runs as always.
"""

from __future__ import annotations

import os
import threading
from _signal import (  # type: ignore[import-not-found]  # those of `signal` wrap enums, which takes ten times as long
    getsignal,
    signal,
)
from collections.abc import Callable
from signal import SIG_DFL, SIG_IGN, SIGINT, default_int_handler, valid_signals
from threading import get_ident
from types import FrameType
from typing import Self

from orchestrator.machine.suspension import suspend

_SIGINT = int(SIGINT)
_SIGNALS = tuple(map(int, valid_signals()))
_HARMLESS = frozenset((int(SIG_DFL), int(SIG_IGN), default_int_handler, suspend, None))
"""What `getsignal` says of a signal for which no code of the program runs."""
_main = threading.main_thread().ident


def _note_main_thread() -> None:
    global _main  # noqa: PLW0603 - a forked child has one thread, which is its main thread
    _main = get_ident()


os.register_at_fork(after_in_child=_note_main_thread)


def are_handled_here() -> bool:
    """Whether a handler of the program's own may interrupt this thread, and raise or call us anywhere."""
    if get_ident() != _main:
        return False
    others = set(map(getsignal, _SIGNALS)) - _HARMLESS
    return not all(isinstance(getattr(each, "__self__", None), HeldBack) for each in others)


class HeldBack:
    """Holds back a KeyboardInterrupt of the main thread while it is entered.

    It may be entered within another.
    """

    __slots__ = ("_holds", "_tell", "came")

    def __init__(self, tell: Callable[[], object] | None = None) -> None:
        """Take what is called when one is held back, for a wait that should end then."""
        self._holds = self.came = False
        self._tell = tell

    def __enter__(self) -> Self:
        # Signal handlers run in no other thread.
        if get_ident() == _main and getsignal(_SIGINT) is default_int_handler:
            signal(_SIGINT, self._note)
            self._holds = True
        return self

    def __exit__(self, *_error: object) -> None:
        if self._holds:
            signal(_SIGINT, default_int_handler)
            if self.came:
                raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            default_int_handler(number, frame)
        self.came = True
        if self._tell is not None:
            self._tell()
