"""What `run` does with a chunk's result before and when it is written.

Runs in the coordinator's thread.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.cli.session.result_sink import Observer

if TYPE_CHECKING:
    from orchestrator.sinks import Sink
    from workers.records.blocks import BlockResult


class UnreadableFiles:
    """The files of a run that can't be read."""

    def __init__(self) -> None:
        self._paths: set[str] = set()

    def once(self, result: BlockResult) -> BlockResult:
        """Count a file that can't be read as one failure, though each of its blocks has failed."""
        whole = [failure for failure in result.failures if failure.line is None and failure.byte_offset is None]
        again = [failure for failure in whole if failure.path in self._paths]
        self._paths.update(failure.path for failure in whole)
        if not again:
            return result
        failures = tuple(failure for failure in result.failures if failure not in again)
        return replace(result, failures=failures, failed=result.failed - len(again))


class WrittenOutput(Observer["BlockResult"]):
    """Writes the results."""

    saved_as = "output"

    def __init__(self, output: Sink) -> None:
        self._output = output

    def observe(self, result: BlockResult) -> None:
        """Write a chunk's output."""
        self._output.write(result)

    def keep_as(self, secret: str) -> None:
        """Let what is written outlive this process."""
        self._output.keep_as(secret)

    def snapshot(self) -> Any:
        """Make the output durable, and return what is needed to resume it."""
        return self._output.snapshot()

    def restore(self, state: Any) -> None:
        """Resume the output from what `snapshot` returned."""
        self._output.restore(state)

    def finish(self) -> None:
        """Give the output its final name."""
        self._output.close()

    def abort(self) -> None:
        """Leave nothing unfinished."""
        self._output.abort()
