"""What nodes know of a sink, and the adapter that gives it to the object of a user.

Owner of the state: the engine's thread.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable


class NodeSink(Protocol):
    """A sink as nodes and runners know it."""

    @property
    def kind(self) -> str:
        """What messages call a sink that can't be resumed."""

    @property
    def path(self) -> str | None:
        """The name of its file, or None if it has none."""

    @property
    def appends(self) -> bool:
        """Whether what was there before the run stays, so that a resumed run has to know how much that was."""

    @property
    def resumes(self) -> bool:
        """Whether a later run can resume it: `keep_as`, `snapshot` and `restore` do what they say."""

    def write(self, items: Any, /) -> object:
        """Take items, in order, or one dead letter.

        A list is not used again.
        """

    def close(self) -> object:
        """Make what was written final."""

    def abort(self) -> object:
        """Abandon what was written, as the run has failed or was left."""

    def discard(self) -> object:
        """Leave nothing for a later run to resume."""

    def sync_ahead(self) -> object:
        """Sync what was written so far, so that `close` and `snapshot` need not.

        Any thread may call it while none writes.
        """

    def narrow(self, mode: int, /) -> object:
        """Give the file no wider mode than this, if this run has made it."""

    def keep_as(self, secret: str, /) -> object:
        """Let what is written outlive this process.

        Args:
            secret: known only to this run, and to those that continue with it.

        Raises:
            ConfigError: it can't be resumed.
        """

    def snapshot(self) -> Any:
        """Make what was written durable, and return what is needed to resume from here."""

    def restore(self, state: Any, /) -> object:
        """Resume from what `snapshot` returned."""


class GivenSink:
    """An object with `write` and `close` as nodes know sinks.

    It is looked through here, once. What else a sink may have: `abort()` if it is not to be closed as usual when the
    run fails; `keep()` or `keep_as(secret)`, `snapshot()` and `restore(state)` if it can be resumed; `discard()`.
    """

    def __init__(self, target: Any) -> None:
        """Take the object.

        Args:
            target: with `keep_as(secret)` if it writes to a file whose name nobody is to guess, else with `keep()`.
        """
        self.kind = type(target).__name__
        path = getattr(target, "path", None)
        self.path = path if isinstance(path, str) else None
        self.appends = bool(getattr(target, "appends", False))
        self.write: Callable[[Any], object] = target.write
        self.close: Callable[[], object] = target.close
        self.abort: Callable[[], object] = getattr(target, "abort", target.close)
        self.discard: Callable[[], object] = getattr(target, "discard", _nothing)
        self.sync_ahead: Callable[[], object] = getattr(target, "sync_ahead", _nothing)
        self.narrow: Callable[[int], object] = getattr(target, "narrow", _nothing)
        keep = getattr(target, "keep", None)
        unnamed = _nothing if keep is None else partial(_without_name, keep)
        self.keep_as: Callable[[str], object] = getattr(target, "keep_as", unnamed)
        self.snapshot: Callable[[], Any] = getattr(target, "snapshot", _nothing)
        self.restore: Callable[[Any], object] = getattr(target, "restore", _nothing)
        given = (self.keep_as, self.snapshot, self.restore)
        self.resumes = all(each is not _nothing for each in given)


def _nothing(*_: Any) -> None:
    """Stand in for what an object has not."""


def _without_name(keep: Callable[[], object], _secret: str) -> object:
    """Keep what has no name that could be guessed."""
    return keep()


def keep_written(sink: NodeSink, node_name: str, secret: str) -> None:
    """Let what a sink of a node is given outlive this process.

    Args:
        sink: of the node.
        node_name: for the message.
        secret: known only to this run, and to those that continue with it.

    Raises:
        ConfigError: it can't be resumed.
    """
    if not sink.resumes:
        raise ConfigError(
            f"the sink of {node_name!r} ({sink.kind}) can't resume after a crash; write to a path, "
            "or give it keep(), snapshot() -> state and restore(state)"
        )
    sink.keep_as(secret)
