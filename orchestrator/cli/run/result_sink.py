"""The sink of the command's graph, which writes, counts, shows and logs a chunk's result.

Runs in the coordinator's thread.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.cli.run.chunk_logs import ChunkLogs
    from orchestrator.cli.run.dead_letters import Letters
    from orchestrator.cli.run.halt import Halting
    from orchestrator.cli.run.tally import RecordTally
    from orchestrator.cli.session.console import Console
    from workers.records.blocks import BlockResult


class RecordingSink:
    """Writes to the output, and keeps the counts."""

    def __init__(
        self,
        output: Any,
        tally: RecordTally,
        console: Console,
        logs: ChunkLogs,
        letters: Letters | None,
        *,
        counts_records: bool,
        halting: Halting,
    ) -> None:
        """Take all the receivers of a result.

        Args:
            output: where results are written.
            tally: where they are counted.
            console: where they are shown.
            logs: where they are logged.
            letters: where records are kept that failed, if they are.
            counts_records: progress is in records, not in bytes of input.
            halting: what holds the counts against --halt.
        """
        self._unreadable: set[str] = set()
        self._letters = letters
        self._halting = halting
        self._counts_records = counts_records
        self._output = output
        self._tally = tally
        self._console = console
        self._logs = logs

    def write(self, results: list[BlockResult]) -> None:
        """Take the results of chunks, in order.

        Raises:
            OrchestratorError: the output can't be written to.
            HaltedError: --halt says now.
        """
        for found in results:
            result = self._once_a_file(found)
            self._output.write(result)
            self._tally.add(result)
            amount = result.records_in if self._counts_records else result.origin.size_bytes
            self._console.done(result.worker, amount)
            self._logs.done(result)
            if self._letters:
                for failure in result.failures:
                    self._letters.write(failure)
            self._halting.poll(result)

    def _once_a_file(self, result: BlockResult) -> BlockResult:
        """Count a file that can't be read as one failure, though each of its blocks has failed."""
        whole = [failure for failure in result.failures if failure.line is None and failure.byte_offset is None]
        again = [failure for failure in whole if failure.path in self._unreadable]
        self._unreadable.update(failure.path for failure in whole)
        if not again:
            return result
        failures = tuple(failure for failure in result.failures if failure not in again)
        return replace(result, failures=failures, failed=result.failed - len(again))

    def keep_as(self, secret: str) -> None:
        """Let what is written outlive this process.

        `secret` is the run's.
        """
        self._output.keep_as(secret)
        if self._letters:
            self._letters.keep()

    def snapshot(self) -> Any:
        """Make what was written durable, and return what is needed to resume, the counts too."""
        logged = self._logs.snapshot()
        dead = self._letters.snapshot() if self._letters else None
        counts = {"tally": self._tally.snapshot(), "shown": self._console.shown}
        return {"output": self._output.snapshot(), "joblog": logged, "letters": dead, **counts}

    def restore(self, state: Any) -> None:
        """Resume from what `snapshot` returned."""
        self._output.restore(state["output"])
        self._tally.restore(state["tally"])
        self._console.resume(state["shown"])
        self._logs.restore(state["joblog"])
        if self._letters and state["letters"] is not None:
            self._letters.restore(state["letters"])
        elif self._letters:
            self._letters.refuse_filled()

    def close(self) -> None:
        """Make the output final."""
        self._output.close()

    def abort(self) -> None:
        """Leave nothing unfinished."""
        self._output.abort()
