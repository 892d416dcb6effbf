"""An exception crosses between processes as data, so that no exception can break the crossing.

`capture` runs in the worker; the coordinator rebuilds what it can (`orchestrator.failures`).
"""

from __future__ import annotations

import os
import pickle
import traceback
from dataclasses import dataclass
from types import TracebackType

_OURS = os.path.dirname(__file__) + os.sep  # noqa: PTH120 - pathlib takes long to import, in every worker
MISSING_NAMES: dict[str, str] = {}
"""Why names of `__main__` could not be sent to this worker; `workers.mirror` writes it."""
_MAX_CAUSES = 20  # a cause chain longer than this is cut; a cycle ends here too


@dataclass(frozen=True, slots=True)
class ExceptionRecord:
    """One exception, told so that it can be shown and, where possible, raised again elsewhere."""

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


def _user_frames(tb: TracebackType | None) -> TracebackType | None:
    """Skip our own frames at the head of `tb`; keep it whole if there is nothing else."""
    found = tb
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_OURS):
        found = found.tb_next
    return found or tb


def text_of(exc: BaseException) -> str:
    """Return `str(exc)`, or what stands in for it where that raises."""
    try:
        return str(exc)
    except BaseException as broken:
        return f"<its __str__ raised {type(broken).__name__}>"


def _notes(exc: BaseException) -> tuple[str, ...]:
    try:
        return tuple(str(note) for note in getattr(exc, "__notes__", ()))
    except BaseException:  # anything may be bound to that name
        return ()


def _format(exc: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(exc), exc, _user_frames(exc.__traceback__)))
    except BaseException:
        return f"{type(exc).__name__}: {text_of(exc)}\n"


def _survivor(exc: BaseException) -> bytes | None:
    """Pickle `exc`, or return None unless the pickle loads again as the same type."""
    try:
        data = pickle.dumps(exc, pickle.HIGHEST_PROTOCOL)
        return data if type(pickle.loads(data)) is type(exc) else None
    except BaseException:
        return None


def class_names(kind: type) -> tuple[str, ...]:
    """Return the full names ("builtins.ValueError") of a class and of all that it derives from, nearest first."""
    return tuple(f"{each.__module__}.{each.__qualname__}" for each in kind.__mro__ if each is not object)


def add_note(exc: BaseException, note: str) -> None:
    """Add a note, also to an exception that refuses attributes (a frozen dataclass)."""
    BaseException.__setattr__(exc, "__notes__", [*_notes(exc), note])


def capture(exc: BaseException, depth: int = 0) -> ExceptionRecord:
    """Return `exc`, its notes and its chain of causes as data; never raises."""
    if isinstance(exc, NameError) and (why := MISSING_NAMES.get(exc.name or "")):
        add_note(exc, why)
    cause = exc.__cause__ if exc.__cause__ is not None or exc.__suppress_context__ else exc.__context__
    return ExceptionRecord(
        type_name=type(exc).__qualname__,
        text=text_of(exc),
        traceback=_format(exc),
        notes=_notes(exc),
        pickled=_survivor(exc),
        cause=capture(cause, depth + 1) if cause is not None and depth < _MAX_CAUSES else None,
        classes=class_names(type(exc)),
    )
