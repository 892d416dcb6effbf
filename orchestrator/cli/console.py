"""What the user sees while a run goes on: progress on stderr, and what their function prints.

Owner of the state: the coordinator's thread. Printing never ends a run: a reader that has left is not written
to.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from orchestrator.cli.plan import RunPlan
    from orchestrator.progress import Progress
    from workers.chunks import BlockResult


class Console:
    """Progress, if it was asked for, and the workers' prints."""

    def __init__(self, plan: RunPlan) -> None:
        """Draw the first picture."""
        self.shown = 0
        """Of the total, so far; what a run before this one had done is counted too."""
        self._data_on_stdout = plan.to_stdout
        self._counts_files = plan.settings.record_format == "files"
        self._progress = _progress(plan, counts_files=self._counts_files)

    def done(self, result: BlockResult) -> None:
        """Count a chunk that was written."""
        amount = result.records_in if self._counts_files else result.origin.size_bytes
        self.shown += amount
        if self._progress is not None:
            self._progress.worker(result.worker, amount)
            self._progress.update(amount)

    def resume(self, shown: int) -> None:
        """Begin where a run before this one was."""
        self.shown = shown
        if self._progress is not None:
            self._progress.update(shown)

    def printed(self, _worker: int, stream: str, text: str) -> None:
        """Pass on what user code printed in a worker; to stderr where stdout carries the data."""
        name: Literal["stdout", "stderr"] = "stderr" if stream == "stderr" or self._data_on_stdout else "stdout"
        with suppress(OSError, ValueError):
            if self._progress is not None:
                self._progress.write(text, stream=name)
            else:
                target = sys.stdout if name == "stdout" else sys.stderr
                target.write(text)
                target.flush()

    def close(self) -> None:
        """Draw the last picture."""
        if self._progress is not None:
            with suppress(OSError, ValueError):
                self._progress.close()


def _progress(plan: RunPlan, *, counts_files: bool) -> Progress | None:
    settings = plan.settings
    if settings.show is None:
        return None
    from orchestrator.progress import Progress  # noqa: PLC0415 - a silent run doesn't pay for tqdm

    known = plan.source.total_bytes is not None
    total = (len(plan.inputs) if counts_files else plan.source.total_bytes) if known else None
    return Progress(
        total,
        unit="files" if counts_files else "B",
        scale=not counts_files,
        style=settings.show,  # type: ignore[arg-type]
        workers=settings.workers,
    )
