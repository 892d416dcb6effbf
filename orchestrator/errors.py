"""The errors that this package raises.

Each says whose fault it is and what happens next.
"""

from __future__ import annotations

import pickle
import signal
import threading
from typing import TYPE_CHECKING, Any

from workers.errors.describe import describe

if TYPE_CHECKING:
    from workers.errors.capture import ExceptionRecord
    from workers.records.blocks import Place


class OrchestratorError(Exception):
    """The base of all errors that this package raises.

    All of them can be copied and pickled, with their cause; of what they hold that can't be pickled a description.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        state = {**self.__dict__, "__cause__": self.__cause__}
        kept = {name: value if _can_be_pickled(value) else describe(value) for name, value in state.items()}
        if not isinstance(kept["__cause__"], BaseException):
            del kept["__cause__"]
        return _rebuilt, (type(self), self.args, kept)


def _rebuilt(kind: type[OrchestratorError], args: tuple[Any, ...], state: dict[str, Any]) -> OrchestratorError:
    error = _made(kind, args)
    error.args = args
    error.__cause__ = state.pop("__cause__", None)
    error.__dict__.update(state)
    return error


def _made(kind: type[OrchestratorError], args: tuple[Any, ...]) -> OrchestratorError:
    """Make an error without its `__init__`, by the largest built-in among its bases.

    The other built-ins refuse.
    """
    for base in kind.__mro__:
        try:
            made: OrchestratorError = base.__new__(kind, *args)
        except TypeError:
            continue
        return made
    raise TypeError(kind)


def _can_be_pickled(value: object) -> bool:
    try:
        pickle.loads(pickle.dumps(value))
    except Exception:
        return False
    return True


class ConfigError(OrchestratorError, ValueError):
    """A setting, argument or name is invalid.

    Nothing was started.
    """


class ClosedError(OrchestratorError, RuntimeError):
    """A pool or iterator was used after you closed it."""


class ReentrantCallError(OrchestratorError, RuntimeError):
    """A signal handler called the pool at a moment when the pool could not answer, in the thread that it interrupted.

    Not `ClosedError`: the pool is fine. Set a flag in the handler and call the pool where the flag is read.
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} was called by a signal handler (or a callback) that interrupted this same thread in the middle of "
            "the pool's own work. Only close(), terminate(), resize(), submit() and cancel() work there: set a flag in "
            "the handler, and do this where the flag is read"
        )
        self.what = what


class InternalError(OrchestratorError):
    """A bug in orchestrator: please report it with its text."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} (this is a bug in orchestrator; please report it)")


class EngineLostError(OrchestratorError, ConnectionError):
    """The executor or cluster that runs the chunks broke down, or can't be reached.

    A run with a checkpoint continues from there with the same command or call.

    Not `WorkerDiedError`: a worker or a node that dies is replaced, or others do its work.
    """


class WorkerStartError(OrchestratorError):
    """The workers can't start.

    The initializer raises, or they die before they run anything, as in an import.
    """


class ItemError(OrchestratorError):
    """Your function failed for one item.

    The exception that it raised is this one's `__cause__`.

    Not `WorkerDiedError`: there the whole process went down.
    """

    def __init__(self, message: str, *, item: Any = None, index: int | None = None, attempts: int = 1) -> None:
        super().__init__(message)
        self.item = item
        self.index = index
        self.attempts = attempts
        self.raised_by_function = False
        self.is_unloadable = False
        """Whether the item could not be unpickled in the worker, or its result here."""
        self.place: Place | None = None
        """The record's place, if the item is one of a file; `item` is the record itself then."""
        self.step: str | None = None
        """The step of a workflow, or of fused functions, that failed."""
        self.record: ExceptionRecord | None = None
        """The worker's record of the function's exception."""
        self.worker: int | None = None
        """The id of the worker, if it died of the item or was ended because of it; and its `pid`."""
        self.pid: int | None = None


class WorkerDiedError(ItemError):
    """A worker process died while it held this item.

    Attributes `worker` (its id), `pid` and `exitcode` (negative: the signal that killed it) tell which one;
    `item` and `index` the item that it ran.
    """

    def __init__(
        self,
        message: str,
        *,
        worker: int | None = None,
        pid: int | None = None,
        exitcode: int | None = None,
        item: Any = None,
        index: int | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message, item=item, index=index, attempts=attempts)
        self.worker = worker
        self.pid = pid
        self.exitcode = exitcode
        self.how = describe_exit(exitcode)
        """How the last worker ended, in words."""
        self.deaths = 1
        """How many workers died of the item."""


class ItemTimeoutError(ItemError, TimeoutError):
    """An item timed out.

    Its worker was killed, with all that the function had started.
    """

    limit_s = 0.0
    """The item's timeout."""


class BrokenBarrierError(OrchestratorError, threading.BrokenBarrierError):
    """The barrier can't fill.

    A party died (it is named) or timed out, the action raised, or it was aborted or reset.
    """


class ResourceTimeoutError(OrchestratorError, TimeoutError):
    """No resource became free within your timeout.

    The text says which processes hold them.
    """


class ResumeMismatchError(OrchestratorError):
    """A run can't be resumed, as something that shapes its output has changed.

    The text says what.
    """


class PausedError(OrchestratorError):
    """The run was asked to stop, and has stopped.

    With checkpoints it can be resumed.
    """


class SharedMemoryError(OrchestratorError, MemoryError):
    """There is no shared memory for what you share, or for what the workers exchange.

    Nothing was started or kept.
    """


class RemoteError(OrchestratorError):
    """A worker's exception that can't be rebuilt here.

    `type_name` is its class.
    """

    def __init__(self, type_name: str, text: str) -> None:
        super().__init__(f"{type_name}: {text}" if text else type_name)
        self.type_name = type_name


def describe_exit(exitcode: int | None) -> str:
    """Describe how a process ended, as in "was killed by SIGKILL (often the out-of-memory killer)"."""
    if exitcode is None:
        return "disappeared"
    if exitcode >= 0:
        return f"exited with code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    hint = {"SIGKILL": "; often the out-of-memory killer", "SIGSEGV": "; a crash in compiled code"}.get(name, "")
    return f"was killed by {name}{hint}"
