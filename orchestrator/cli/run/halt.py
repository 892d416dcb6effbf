"""Stops a run over records as --halt says.

    soon    nothing more is read, what was read goes through, and the output is final
    now     the run ends at once, with what runs; an output file is not written
    with a checkpoint     the run is put aside as it is at a signal, to be resumed

Runs in the coordinator's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.flags.halt import HaltCount
from orchestrator.cli.session.result_sink import Observer
from orchestrator.cli.session.run import HaltedError

if TYPE_CHECKING:
    from orchestrator.cli.flags.halt import Halt
    from orchestrator.graph.runner import Runner
    from workers.records.blocks import BlockResult

_AS_LONG_AS_IT_TAKES_S = 1e9


class Halting(Observer["BlockResult"]):
    """Counts the records of one run.

    `engine` is set as soon as there is one.
    """

    def __init__(self, halt: Halt, *, resumable: bool) -> None:
        """Take the condition of --halt.

        `resumable`: the run has checkpoints.
        """
        self.engine: Runner | None = None
        self._count = HaltCount(halt, None)
        self._resumable = resumable

    @property
    def reached(self) -> bool:
        """Whether the condition is met."""
        return self._count.reached

    @property
    def reason(self) -> str:
        """The text about what met the condition of --halt."""
        return f"stopped by {self._count.reason('records')}"

    def observe(self, result: BlockResult) -> None:
        """Count a chunk that was written, and stop the run if --halt is met.

        Raises:
            HaltedError: at once.
        """
        if self._count.reached or not self._count.add(
            failed=result.failed, succeeded=result.records_in - result.failed
        ):
            return
        assert self.engine is not None  # noqa: S101 - for the type checker
        now = self._count.halt.when == "now"
        if self._resumable:
            self.engine.pause(0.0 if now else _AS_LONG_AS_IT_TAKES_S)
        elif now:
            raise HaltedError(self.reason)
        else:
            self.engine.stop()
