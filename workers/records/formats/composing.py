"""Makes one output of the payloads that the workers have encoded.

Runs in the coordinator.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from workers.errors.describe import cut, describe

Names = tuple[str, ...]
_LISTED = 400
"""Characters that a message spends on the names of columns."""


def listed(names: Iterable[object]) -> str:
    """Return the names of columns for a message, cut if they are many.

    A key of a result may be any object.
    """
    return cut(", ".join(name if type(name) is str else describe(name) for name in names), _LISTED)


class MisfitError(Exception):
    """A payload does not fit to those written before.

    The message says why.
    """


class Composer:
    """Writes payloads one behind the other.

    The parent of those that write more.
    """

    def __init__(self) -> None:
        self.fields: Names | None = None
        """The columns of the output."""
        self.of_input: Names | None = None
        """The columns of the first input: they are the header where no row was written."""

    def add(self, payload: memoryview, names: Names | None, path: str) -> tuple[bytes, memoryview | bytes]:  # noqa: ARG002 - lines have no columns
        """Return the bytes to write: those before the payload, and those in its place.

        Args:
            payload: what an encoder gave for one block.
            names: the columns of its rows.
            path: the input that these are of, for messages.

        Raises:
            MisfitError: it does not fit to what was written before.
        """
        return b"", payload

    def finish(self) -> bytes:
        """Return what ends the output."""
        return b""

    def snapshot(self) -> Any:
        """Return what is needed to continue."""
        return None

    def restore(self, state: Any) -> None:
        """Continue from what `snapshot` returned."""
