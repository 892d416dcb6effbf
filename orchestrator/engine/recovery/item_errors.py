"""Turns a worker's `ExceptionRecord` back into an exception, and into the errors that the user sees."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.engine.protocol.events import Lost
from orchestrator.engine.recovery.dead_letters import NO_ITEM, DeadLetter, ErrorText
from orchestrator.errors import ItemError, ItemTimeoutError, RemoteError, WorkerDiedError, describe_exit
from workers.errors.capture import ExceptionRecord, capture
from workers.errors.describe import describe, text_of, type_name
from workers.errors.signal_handlers import is_of_a_handler
from workers.records.blocks import ByteRange, RecordError


@dataclass(frozen=True, slots=True)
class Failure:
    """The result of an item that failed (`on_error="return"`)."""

    item: Any
    index: int
    error: ItemError
    """What `on_error="raise"` would have raised; the function's own exception is its `__cause__`."""

    @property
    def attempts(self) -> int:
        """How often the item was tried."""
        return self.error.attempts

    @property
    def traceback(self) -> str:
        """The traceback of the function's exception, as text.

        Empty if it raised none (a death, a timeout).
        """
        record = self.error.record
        if record is None and self.error.__cause__ is not None:
            record = capture(self.error.__cause__)
        return "" if record is None else record.traceback

    def __repr__(self) -> str:
        """Show the item as messages do, whatever its own `__repr__` would."""
        return f"Failure(item={describe(self.item)}, index={self.index}, error={describe(str(self.error), 200)})"

    def __bool__(self) -> bool:
        """A failure is false, so that `filter(None, results)` leaves failures out."""
        return False


def dead_letter(error: ItemError, item: Any, index: int, function: str) -> DeadLetter:
    """Return the dead letter of an item that is given up with this error."""
    record = error.record
    if error.place is not None:  # a record of a file
        item = NO_ITEM if isinstance(error.item, ByteRange) else error.item
    return DeadLetter(
        item,
        index,
        ErrorText(type(error).__name__, str(error)) if record is None else ErrorText(record.type_name, record.text),
        "" if record is None else record.traceback,
        error.attempts,
        function,
        step=error.step,
        workflow=None if record is None else record.workflow,
        worker=error.worker,
        pid=error.pid,
        exitcode=error.exitcode if isinstance(error, WorkerDiedError) else None,
        place=error.place,
    )


def rebuild(record: ExceptionRecord) -> BaseException:
    """Return the exception that a worker raised, with its causes.

    It is a `RemoteError` where it can't be rebuilt.

    The worker's traceback is attached as a note, so that Python prints it. An exception that has not left this process
    is given as it is.
    """
    if record.live is not None:
        return record.live
    error: BaseException = RemoteError(record.type_name, record.text)
    if record.pickled is not None:
        try:
            loaded = pickle.loads(record.pickled)
        except BaseException as failed:
            if is_of_a_handler(failed):
                raise
        else:
            error = loaded if isinstance(loaded, BaseException) else error
    # Not by `add_note` and assignment, which some exceptions refuse (frozen dataclasses).
    told = f"in the worker:\n{record.traceback.rstrip()}"
    BaseException.__setattr__(error, "__notes__", [*record.notes, told])
    if record.cause is not None:
        BaseException.__setattr__(error, "__cause__", rebuild(record.cause))
    return error


class NamedItem:
    """An item that describes itself in messages, as its index means nothing to the user."""

    __slots__ = ()

    def describe(self) -> str:
        """Return the name for messages, bounded, without ever raising."""
        raise NotImplementedError


def _named(item: Any, index: int) -> str:
    return item.describe() if issubclass(type(item), NamedItem) else f"item {index} ({describe(item)})"


def item_error(
    record: ExceptionRecord, item: Any, index: int, attempts: int, name: str | None = None
) -> ItemError:
    """Return the error of an item whose function raised.

    `name` is what messages call the item.
    """
    tried = f" ({attempts} attempts)" if attempts > 1 else ""
    where = f" in step {record.step!r}" if record.step is not None else ""
    if record.workflow is not None:
        where += f" of workflow {record.workflow!r}"
    error = ItemError(
        f"{name or _named(item, index)} failed{where}{tried}: {record.type_name}: {record.text}",
        item=item,
        index=index,
        attempts=attempts,
    )
    error.__cause__ = rebuild(record)
    error.raised_by_function = True
    error.step = record.step
    error.record = record
    return error


def headline(error: ItemError) -> str:
    """Describe a failed item in one line, as in "in.csv, line 3: KeyError: 'n'".

    An item that is not a record of a file is called by its index, as the message does.
    """
    place = error.place
    if place is None:
        return " ".join(str(error).split())
    where = place.describe()
    if place.line is None and place.start is not None:
        where = f"{replace(place, start=None).describe()}, the block at byte {place.start}"
    kind, text, _ = describe_failure(error)
    text = " ".join(text.split())
    return f"{where}: {kind}" + (f": {text}" if text else "")


def describe_failure(error: ItemError) -> tuple[str, str, str]:
    """Return the kind of a failure, what it says, and the traceback in the user's function."""
    if isinstance(error.__cause__, RecordError):  # it could not be read
        failure = error.__cause__.failure
        return failure.error, failure.text, failure.traceback
    if error.record is not None:
        return error.record.type_name, error.record.text, error.record.traceback
    if isinstance(error, WorkerDiedError):
        who = "1 worker: it" if error.deaths == 1 else f"{error.deaths} workers; the last"
        return "WorkerDiedError", f"killed {who} (pid {error.pid}) {error.how}", ""
    if isinstance(error, ItemTimeoutError):
        tried = f" ({error.attempts} attempts)" if error.attempts > 1 else ""
        return "ItemTimeoutError", f"timed out after {error.limit_s:g} s{tried}; its worker was killed", ""
    return type(error).__name__, str(error), ""


def unsendable_error(cause: BaseException, item: Any, index: int) -> ItemError:
    """Return the error of an item that can't be pickled."""
    name = _named(item, index) if issubclass(type(item), NamedItem) else f"item {index} ({type_name(type(item))})"
    error = ItemError(
        f"{name} can't be sent to a worker: {type_name(type(cause))}: {text_of(cause)}",
        item=item,
        index=index,
    )
    error.__cause__ = cause
    return error


def timeout_error(lost: Lost, item: Any, index: int, attempts: int, name: str | None = None) -> ItemTimeoutError:
    """Return the error of an item that timed out."""
    limit_s = lost.ended.limit if lost.ended is not None else 0.0
    tried = f" ({attempts} attempts)" if attempts > 1 else ""
    error = ItemTimeoutError(
        f"{name or _named(item, index)} timed out after {limit_s:g} s{tried}; "
        f"{lost.who}, which ran it, was killed and replaced",
        item=item,
        index=index,
        attempts=attempts,
    )
    error.worker, error.pid, error.limit_s = lost.worker, lost.pid, limit_s
    return error


def how_it_ended(lost: Lost) -> str:
    """Tell in words how a worker ended, by itself or by us."""
    if lost.ended is not None and lost.ended.reason == "memory":
        held, allowed = lost.ended.limit / 2**20, lost.ended.allowed / 2**20
        return f"was killed, as it used {held:,.0f} MiB, far above its memory_limit of {allowed:,.0f} MiB,"
    if lost.ended is not None and lost.ended.reason == "stopped":
        return "was killed, as it made no progress (SIGSTOP? or does the import of the function's module hang?)"
    if lost.ended is not None and lost.ended.reason == "node":
        return "was lost with its node, which died or can't be reached,"
    return describe_exit(lost.exitcode)


def death_error(  # noqa: PLR0917 - all that there is to tell
    lost: Lost, item: Any, index: int, deaths: int, attempts: int, name: str | None = None
) -> WorkerDiedError:
    """Return the error of an item that is given up because workers died of it.

    Or with it, if it must not run twice.
    """
    begun = "it had begun" if lost.begun else "it had not begun"
    if lost.to_blame:
        why = f"while it ran {name or _named(item, index)}, death {deaths} of {deaths} allowed; the item fails"
    else:
        why = f"with the result of {name or _named(item, index)}, which may not run twice and fails"
    error = WorkerDiedError(
        f"{lost.who} {how_it_ended(lost)} {why} ({begun})",
        worker=lost.worker,
        pid=lost.pid,
        exitcode=lost.exitcode,
        item=item,
        index=index,
        attempts=attempts,
    )
    error.how, error.deaths = how_it_ended(lost).rstrip(","), deaths
    return error
