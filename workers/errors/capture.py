"""Turns exceptions into data that can always be sent between processes.

`capture` runs in the worker; the coordinator rebuilds what it can (`orchestrator.engine.recovery.item_errors`).
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any

from workers.errors.describe import MOST_TEXT, class_names, cut, cut_middle, describe, text_of, type_name
from workers.errors.signal_handlers import is_of_a_handler

_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep  # noqa: PTH120 - pathlib takes long to import, in every worker
MISSING_NAMES: dict[str, str] = {}
"""Why names of `__main__` could not be sent to this worker; `workers.pickling.main_module` writes it."""
_MAX_NOTES = 100
_MAX_CAUSES = 20  # a cause chain longer than this is cut; a cycle ends here too


@dataclass(frozen=True, slots=True)
class ExceptionRecord:
    """One exception as data, to be shown and, where possible, raised again elsewhere."""

    type_name: str
    text: str
    traceback: str
    """Formatted, from the user's first frame on, causes included."""
    notes: tuple[str, ...]
    pickled: bytes | None
    """The exception itself, only if it survived a round trip in the worker."""
    cause: ExceptionRecord | None
    step: str | None = None
    """The fused step that raised it, if the function had steps."""
    workflow: str | None = None
    """The workflow of that step."""
    classes: tuple[str, ...] = ()
    """Its class and those that this derives from, nearest first, as `class_names` calls them."""
    live: BaseException | None = None
    """The exception itself, where it has not left its process; `pickled` is None then."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it as a worker would have sent it."""
        pickled = self.pickled if self.live is None else _survivor(self.live)
        told = (self.type_name, self.text, self.traceback, self.notes)
        return ExceptionRecord, (*told, pickled, self.cause, self.step, self.workflow, self.classes)


def users_part(tb: TracebackType | None, *, parsed_by_us: bool = False) -> TracebackType | None:
    """Return `tb` from the user's first frame on, or None if all frames are ours.

    With `parsed_by_us`, the frames of the JSON parser, which we called, are ours, too.
    """
    while tb is not None:
        is_ours = tb.tb_frame.f_code.co_filename.startswith(_OURS)
        if not is_ours and not (parsed_by_us and str(tb.tb_frame.f_globals.get("__name__")).startswith("json.")):
            return tb
        tb = tb.tb_next
    return None


def notes_of(exc: BaseException) -> tuple[str, ...]:
    """Return the notes of an exception, at most the first few.

    None if they are not a list.
    """
    try:
        notes = islice(getattr(exc, "__notes__", ()), _MAX_NOTES)
        return tuple(cut(note if type(note) is str else describe(note), MOST_TEXT) for note in notes)
    except BaseException:  # anything may be bound to that name
        return ()


def _format(exc: BaseException) -> str:
    try:
        lines = traceback.format_exception(type(exc), exc, users_part(exc.__traceback__) or exc.__traceback__)
        return cut_middle("".join(lines), MOST_TEXT)
    except BaseException:
        return f"{type_name(type(exc))}: {text_of(exc)}\n"


def _survivor(exc: BaseException) -> bytes | None:
    """Pickle `exc`, or return None unless the pickle loads again as the same type."""
    try:
        data = _plain_pickle(exc)
        return data if type(pickle.loads(data)) is type(exc) else None
    except BaseException:
        return None


def _plain_pickle(exc: BaseException) -> bytes:
    """Pickle `exc` without its traceback and causes, which records have as text.

    tblib, which Dask uses if it is there, makes every exception of the process take them along.
    """
    if "tblib.pickling_support" not in sys.modules:
        return pickle.dumps(exc, pickle.HIGHEST_PROTOCOL)
    file = io.BytesIO()
    pickler = pickle.Pickler(file, pickle.HIGHEST_PROTOCOL)
    reducers = copyreg.dispatch_table.items()
    pickler.dispatch_table = {kind: how for kind, how in reducers if not _is_of_tblib(how)}
    pickler.dump(exc)
    return file.getvalue()


def _is_of_tblib(reducer: Any) -> bool:
    return str(getattr(getattr(reducer, "func", reducer), "__module__", "")).startswith("tblib.")


def add_note(exc: BaseException, note: str) -> None:
    """Add a note, also to an exception that refuses attributes (a frozen dataclass)."""
    BaseException.__setattr__(exc, "__notes__", [*notes_of(exc), note])


_name_that_is_missing: Any = vars(NameError)["name"].__get__  # past what a subclass defines


class _Keeping(threading.local):
    on = False


_keeping = _Keeping()


@contextmanager
def keeping_exceptions() -> Iterator[None]:
    """Make `capture` keep exceptions themselves, with tracebacks and frames, within it and in this thread.

    What a signal handler raised (Ctrl-C) goes through it then, and what a debugger raises when its user leaves it.
    """
    before, _keeping.on = _keeping.on, True
    try:
        yield
    finally:
        _keeping.on = before


def _ends_the_program(exc: BaseException) -> bool:
    bdb: Any = sys.modules.get("bdb")
    return (bdb is not None and isinstance(exc, bdb.BdbQuit)) or is_of_a_handler(exc)


def capture(exc: BaseException, depth: int = 0) -> ExceptionRecord:
    """Return `exc`, its notes and its chain of causes as data.

    Raises nothing but what `keeping_exceptions` allows.
    """
    if _keeping.on and not depth and _ends_the_program(exc):
        raise exc
    if issubclass(type(exc), NameError) and type(name := _name_that_is_missing(exc)) is str and name in MISSING_NAMES:
        add_note(exc, MISSING_NAMES[name])
    cause = exc.__cause__ if exc.__cause__ is not None or exc.__suppress_context__ else exc.__context__
    return ExceptionRecord(
        type_name=type_name(type(exc)),
        text=text_of(exc),
        traceback=_format(exc),
        notes=notes_of(exc),
        pickled=None if _keeping.on else _survivor(exc),
        cause=capture(cause, depth + 1) if cause is not None and depth < _MAX_CAUSES else None,
        classes=class_names(type(exc)),
        live=exc if _keeping.on else None,
    )
