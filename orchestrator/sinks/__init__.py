"""The sinks of the command's results: a file, a folder with an output for each input file, or standard output.

A sink is anything with `write(result)`, `close()` (keep what was written) and `abort()` (leave nothing
behind).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from workers.records.blocks import BlockResult


class Sink(Protocol):
    """Takes the results of chunks, in the order in which they are to be written."""

    in_place: bool
    """Whether what was written can't be taken back."""

    @property
    def is_final(self) -> bool:
        """Whether the whole output has its final name."""

    def write(self, result: BlockResult) -> None:
        """Write one chunk's output."""

    def close(self) -> None:
        """Make the output final."""

    def abort(self) -> None:
        """Abandon the output: leave nothing under the final name."""

    def keep_as(self, secret: str) -> None:
        """Let what is written outlive this process.

        `secret` is the run's.

        Raises:
            ConfigError: it can't be resumed.
        """

    def snapshot(self) -> Any:
        """Make what was written durable, and return what is needed to resume from here."""

    def restore(self, state: Any) -> None:
        """Resume from what `snapshot` returned."""
