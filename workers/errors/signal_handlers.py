"""Tells exceptions of signal handlers from those of the interrupted code.

Holds no state.

What catches errors of user code, to make them the failure of one item, must let those of handlers through: a program
that ends by `sys.exit` in a handler, or a time limit by SIGALRM, would else continue as if nothing had happened.
"""

from __future__ import annotations

import signal
from opcode import opmap
from types import CodeType, TracebackType
from typing import Any


def is_of_a_handler(error: BaseException) -> bool:
    """Tell whether a signal handler raised it, where it was caught."""
    trace = error.__traceback__
    if isinstance(error, KeyboardInterrupt):  # Python's own handler is no Python function
        return trace is None or not _is_raised_by_a_statement(trace)
    if trace is None or trace.tb_next is None:  # raised by what was called in C, as most are
        return False
    codes = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    while codes and trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def _is_raised_by_a_statement(trace: TracebackType) -> bool:
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == opmap["RAISE_VARARGS"]


def _code_of(handler: Any) -> CodeType | None:
    """Return the code of a function, a method, a partial or an object with `__call__`, or None."""
    for _ in range(10):
        code = getattr(handler, "__code__", None)
        if isinstance(code, CodeType):
            return code
        inner = getattr(handler, "__wrapped__", None) or getattr(handler, "func", None)
        if inner is None:
            code = getattr(vars(type(handler)).get("__call__"), "__code__", None)
            return code if isinstance(code, CodeType) else None
        handler = inner
    return None
