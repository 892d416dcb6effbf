"""The interpreter state that a worker takes over: the coordinator's when the worker is started.

What a process inherits is in `moment`; this is what a forked child has besides, and a new interpreter does not. Forked
workers are given it, too: the thread that forks them has other warnings and decimals than the one that made the pool.
`Interpreter.now` runs in the coordinator, `take_over` in the worker, before any code of the program's.
"""

from __future__ import annotations

import contextlib
import gc
import re
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

_locale: Any
try:
    import _locale  # what `locale` is made of, without the tables that take long to load
except ImportError:
    _locale = None

_Filter = tuple[str, tuple[str, int] | str | None, tuple[str, str], tuple[str, int] | str | None, int]
"""A filter of warnings: expressions by pattern and flags, the category by module and name."""

_OF_WORKERS = {signal.SIGINT, signal.SIGTERM, signal.SIGURG, signal.SIGKILL, signal.SIGSTOP}
"""Signals whose handling the worker sets itself."""


def _dispositions() -> dict[int, int]:
    """Return which signals are ignored, and which have their default action.

    Not those that a function handles.
    """
    found = {}
    for number in signal.valid_signals() - _OF_WORKERS:
        disposition = signal.getsignal(number)
        if isinstance(disposition, signal.Handlers):
            found[int(number)] = int(disposition)
    return found


def _dispose(dispositions: dict[int, int]) -> None:
    for number, disposition in dispositions.items():
        if signal.getsignal(number) != disposition:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, disposition)


def _filters() -> list[_Filter]:
    found: Any = warnings.filters
    return [
        (action, _plain(message), (category.__module__, category.__qualname__), _plain(module), line)
        for action, message, category, module, line in found
    ]


def _plain(expression: Any) -> Any:
    return (expression.pattern, expression.flags) if isinstance(expression, re.Pattern) else expression


def _filter(filters: list[_Filter]) -> None:
    found = []
    for action, message, (module_name, name), module, line in filters:
        category = getattr(sys.modules.get(module_name), name, None)
        if isinstance(category, type):  # to load a module for a filter could take long
            found.append((action, _compiled(message), category, _compiled(module), line))
    listed: Any = warnings.filters
    warnings.resetwarnings()
    listed.extend(found)


def _compiled(expression: tuple[str, int] | str | None) -> Any:
    return re.compile(*expression) if isinstance(expression, tuple) else expression


def _collect(is_enabled: bool) -> None:
    (gc.enable if is_enabled else gc.disable)()


_STATE: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "recursion limit": (sys.getrecursionlimit, sys.setrecursionlimit),
    "switch interval": (sys.getswitchinterval, sys.setswitchinterval),
    "digits of an int": (sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    "flags of libraries": (sys.getdlopenflags, sys.setdlopenflags),
    "thresholds of gc": (gc.get_threshold, lambda given: gc.set_threshold(*given)),
    "gc enabled": (gc.isenabled, _collect),
    "flags of gc": (gc.get_debug, gc.set_debug),
    "signals": (_dispositions, _dispose),
    "warnings": (_filters, _filter),
}
"""How each is read, and how it is set."""
if _locale is not None:
    _STATE["locale"] = (
        lambda: _locale.setlocale(_locale.LC_ALL, None),
        lambda given: _locale.setlocale(_locale.LC_ALL, given),
    )


def decimal_contexts() -> tuple[Any, Any] | None:
    """Return the decimal contexts of the calling thread and of new threads.

    None: they are the defaults.
    """
    decimal: Any = sys.modules.get("decimal")
    if decimal is None:
        return None
    contexts = decimal.getcontext().copy(), decimal.DefaultContext.copy()
    traps = [decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow]
    usual = decimal.Context(28, decimal.ROUND_HALF_EVEN, -999999, 999999, 1, 0, [], traps)
    for each in contexts:
        each.clear_flags()
    return None if all(repr(each) == repr(usual) for each in contexts) else contexts


class Interpreter(NamedTuple):
    """The interpreter state that a child would have if it was forked now."""

    state: dict[str, Any]
    decimals: tuple[Any, Any] | None

    @classmethod
    def now(cls, decimals: tuple[Any, Any] | None) -> Interpreter:
        """Return the state of this process.

        `decimals`: see `decimal_contexts`.
        """
        return cls({name: read() for name, (read, _) in _STATE.items()}, decimals)

    def take_over(self) -> None:
        """Give this process that state, as far as it may."""
        for name, wanted in self.state.items():
            read, put = _STATE[name]
            with contextlib.suppress(Exception):
                if read() != wanted:
                    put(wanted)
        if self.decimals is not None:
            import decimal  # noqa: PLC0415 - few programs need it

            own, default = self.decimals
            for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "traps"):
                setattr(decimal.DefaultContext, name, getattr(default, name))
            decimal.setcontext(own)
