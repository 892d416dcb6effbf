"""What becomes of a chunk's result, in this order: written, counted, shown, logged. The sink of the command's graph.

Runs in the coordinator's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.cli.console import Console
    from orchestrator.cli.joblog import Joblog
    from orchestrator.cli.summary import Tally
    from orchestrator.sinks import Sink
    from workers.chunks import BlockResult


class RecordingSink:
    """Writes to the output, and keeps the books."""

    def __init__(self, output: Sink, tally: Tally, console: Console, joblog: Joblog | None) -> None:
        self._output = output
        self._tally = tally
        self._console = console
        self._joblog = joblog

    def write(self, results: list[BlockResult]) -> None:
        """Take the results of chunks, in order.

        Raises:
            OrchestratorError: the output can't be written to.
        """
        for result in results:
            self._output.write(result)
            self._tally.add(result)
            self._console.done(result)
            if self._joblog:
                self._joblog.done(result)

    def close(self) -> None:
        """Make the output final."""
        self._output.close()

    def abort(self) -> None:
        """Leave nothing unfinished."""
        self._output.abort()
