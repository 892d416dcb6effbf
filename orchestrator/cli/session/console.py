"""Shows a run in progress: bars on stderr, and what the function prints.

Owner of the state: the coordinator's thread. Printing never ends a run: a reader that has left is not written
to.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Literal

from orchestrator.machine.terminal import for_stream
from orchestrator.pool.internals import internals_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from orchestrator.pool.pool import Pool
    from orchestrator.progress import Progress


class Console:
    """Shows progress, if it was asked for, and the workers' prints."""

    def __init__(self, progress: Progress | None, *, data_on_stdout: bool) -> None:
        """Begin with nothing done."""
        self.shown = 0
        """Of the total, so far; what an earlier run had done is counted too."""
        self._data_on_stdout = data_on_stdout
        self._progress = progress

    def done(self, worker: int, amount: int) -> None:
        """Count what a worker has done."""
        self.shown += amount
        if self._progress is not None:
            self._progress.worker(worker, amount)
            self._progress.update(amount)

    def resume(self, shown: int) -> None:
        """Begin where an earlier run stopped."""
        self.shown = shown
        if self._progress is not None:
            self._progress.update(shown)

    def show_prints_of(self, pool: Pool) -> None:
        """Show what functions print.

        Where they run in this process the terminal is theirs, for a debugger, unless results go there.
        """
        if self._data_on_stdout or "processes" in internals_of(pool).engine.capabilities:
            pool.on_output = self.printed

    def printed(self, _worker: int, stream: str, text: str) -> None:
        """Print what user code printed in a worker.

        It goes to stderr where stdout carries the data.
        """
        name: Literal["stdout", "stderr"] = "stderr" if stream == "stderr" or self._data_on_stdout else "stdout"
        with suppress(OSError, ValueError):
            if self._progress is not None:
                self._progress.write(text, stream=name)
            else:
                target = sys.stdout if name == "stdout" else sys.stderr
                target.write(for_stream(text, target))
                target.flush()

    def aside(self, stream: Literal["stdout", "stderr"]) -> AbstractContextManager[bool]:
        """Hide the bars while something else writes to a stream, as `Progress.aside` does."""
        return nullcontext(enter_result=False) if self._progress is None else self._progress.aside(stream)

    def close(self) -> None:
        """Draw the last picture."""
        if self._progress is not None:
            with suppress(OSError, ValueError):
                self._progress.close()


def open_progress(show: str | None, total: int | None, *, unit: str, scale: bool, workers: int) -> Progress | None:
    """Draw the first picture, if one was asked for.

    Args:
        show: "bar", "eta" or "workers"; None: nothing is shown.
        total: how much there is to do; None: nobody knows.
        unit: of the total.
        scale: whether the total is bytes.
        workers: how many rows the picture begins with, if it has some.
    """
    if show is None:
        return None
    from orchestrator.progress import Progress  # noqa: PLC0415 - a silent run doesn't pay for tqdm

    return Progress(total, unit=unit, scale=scale, style=show, workers=workers)  # type: ignore[arg-type]
