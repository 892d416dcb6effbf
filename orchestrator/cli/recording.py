"""What becomes of a chunk's result, in this order: written, counted, shown, logged. The sink of the command's graph.

Runs in the coordinator's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.cli.console import Console
    from orchestrator.cli.joblog import Joblog
    from orchestrator.cli.letters import Letters
    from orchestrator.cli.summary import Tally
    from workers.chunks import BlockResult


class RecordingSink:
    """Writes to the output, and keeps the books."""

    def __init__(
        self, output: Any, tally: Tally, console: Console, joblog: Joblog | None, letters: Letters | None = None
    ) -> None:
        self._letters = letters
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
            if self._letters:
                for failure in result.failures:
                    self._letters.write(failure)

    def keep(self) -> None:
        """Let what is written outlive this process."""
        self._output.keep()
        if self._letters:
            self._letters.keep()

    def snapshot(self) -> Any:
        """Make last what was written; return what it takes to go on from here, the counts too."""
        logged = self._joblog.snapshot() if self._joblog else None
        dead = self._letters.snapshot() if self._letters else None
        counts = {"tally": self._tally.snapshot(), "shown": self._console.shown}
        return {"output": self._output.snapshot(), "joblog": logged, "letters": dead, **counts}

    def restore(self, state: Any) -> None:
        """Go on from what `snapshot` gave."""
        self._output.restore(state["output"])
        self._tally.restore(state["tally"])
        self._console.resume(state["shown"])
        if self._joblog and state["joblog"] is not None:
            self._joblog.restore(state["joblog"])
        if self._letters and state["letters"] is not None:
            self._letters.restore(state["letters"])

    def close(self) -> None:
        """Make the output final."""
        self._output.close()

    def abort(self) -> None:
        """Leave nothing unfinished."""
        self._output.abort()
