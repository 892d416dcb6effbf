"""Occupy standard streams that the command was started without, as by a daemon or `2>&-`.

A file that took such a number would get what is meant for a terminal, and Python has None for the stream's name.
"""

from __future__ import annotations

import os
import sys

_USELESS = (os.O_WRONLY, os.O_RDONLY, os.O_RDWR)
"""How each stands open: to read from no input, or to write results to no output, stays an error; messages are lost."""


def hold_closed_streams() -> None:
    """Open the null device as each standard stream that is closed.

    Call it before anything else is opened.
    """
    for number, flags in enumerate(_USELESS):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # the lowest number that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - as long as the process
