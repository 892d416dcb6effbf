"""Draws progress on stderr, by tqdm, in the coordinator.

Nobody imports this module unless progress is wanted, so that a silent run never pays for tqdm.

`Progress` owns the counts and the clock; a `_Screen` draws them: bars on a terminal, widgets in a notebook,
plain lines a few seconds apart where stderr is a file or a pipe. Workers draw nothing: what user code prints
in a worker comes back to the coordinator and passes through `Progress.write`, which keeps the bars whole.

Invariants: no thread is started (tqdm's monitor is off for our bars, and only for ours); no lock shared
between processes is made (tqdm's own default is one); after `close` nothing is drawn any more. Not
thread-safe: whoever drives the coordinator's loop owns it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tqdm import TqdmWarning, tqdm

from orchestrator.machine.terminal import for_stream, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self, TextIO

Style = Literal["bar", "eta", "workers"]
StreamName = Literal["stdout", "stderr"]

BAR_INTERVAL_S = 0.1  # ten pictures a second are as many as the eye follows
LINE_INTERVAL_S = 5.0  # a log wants to be read, not scrolled
INTERVAL_VARIABLE = "ORCHESTRATOR_PROGRESS_INTERVAL_S"
_USUAL_SIZE = os.terminal_size((80, 24))  # where a terminal doesn't say
_LONGEST_HELD_LINE = 64 * 1024  # characters; a line that never ends is let through in pieces of this size

_ETA_FORMAT = "{head}ETA: {eta} Left: {left} Rate: {rate_fmt} Elapsed: {elapsed}"
_WORKER_FORMAT = "{head}{n_fmt} {unit}, {rate_fmt}"
_LINE_FORMAT = "{head}{percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]"
_OPEN_LINE_FORMAT = "{head}{n_fmt} {unit} [{elapsed}, {rate_fmt}]"


class Progress:
    """Draws the progress of a run.

    Runs in the coordinator.

    Args:
        total: records or bytes that are expected; None if nobody knows.
        unit: what is counted, as it stands behind the number ("it", "B", "records").
        scale: write 1,048,576 as 1.00M; for bytes.
        desc: words in front of the bar.
        style: "bar"; "eta", one line of remaining time and rate as GNU parallel's `--eta` has it; "workers",
            the overall bar and one below it for each worker.
        file: where to draw; stderr unless given.
        workers: how many worker bars to start with; more appear as more workers report.
        rows: what the bars below the overall one are called, if they are not workers'.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        total: int | None,
        *,
        unit: str = "it",
        scale: bool = False,
        desc: str | None = None,
        style: Style = "bar",
        file: TextIO | None = None,
        workers: int = 0,
        rows: tuple[str, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        stream = sys.stderr if file is None else file
        look = _Figures(total, unit, desc, scale=scale, style=style, clock=clock, rows=rows)
        workers = workers or len(rows)
        self._clock = clock
        self._look = look
        self._screen: _Screen
        if _in_notebook():
            self._screen = _Bars(look, None, workers, notebook=True)
        elif stream.isatty():
            self._screen = _Bars(look, stream, workers, notebook=False)
        else:
            self._screen = _Lines(look, stream)
        self._shows_workers = style == "workers" and isinstance(self._screen, _Bars)
        self._done = 0
        self._done_by_worker: dict[int, int] = {}
        self._due = clock() + self._screen.interval_s
        self._held: dict[StreamName, str] = {"stdout": "", "stderr": ""}
        self._closed = False

    def update(self, n: int) -> None:
        """Count `n` more, and draw if a picture is due.

        `update(0)` keeps the clock of an idle bar going.
        """
        self._done += n
        if self._clock() >= self._due:
            self._draw()

    def worker(self, worker_id: int, n: int) -> None:
        """Count `n` more for one worker's own bar.

        `update` counts for the overall bar.
        """
        if not self._shows_workers:
            return
        self._done_by_worker[worker_id] = self._done_by_worker.get(worker_id, 0) + n
        if self._clock() >= self._due:
            self._draw()

    def name_row(self, row: int, name: str) -> None:
        """Rename a row from the next picture on."""
        if row < len(self._look.rows):
            self._look.rows[row] = _in_one_line(name)
            self._screen.rename(row)

    def write(self, text: str, *, stream: StreamName) -> None:
        """Write what user code printed, above the bars.

        Only whole lines are written; an unfinished one waits for its end, or for `close`.

        Raises:
            OSError: the stream can't be written to (a pipe whose reader left).
        """
        held = self._held[stream] + text
        whole, newline, rest = held.rpartition("\n")
        if len(rest) > _LONGEST_HELD_LINE:
            whole, newline, rest = held, "\n", ""
        self._held[stream] = rest
        if newline:
            self._write_lines(whole + newline, stream)

    @contextmanager
    def aside(self, stream: StreamName) -> Iterator[bool]:
        """Hide the bars while something else writes to a stream.

        Gives whether they share its terminal.

        If they do, what is written has to end with a line end: the bars come back at the start of the cursor's line.
        """
        shared = self._screen.clear_for(sys.stdout if stream == "stdout" else sys.stderr)
        try:
            yield shared
        finally:
            self._screen.redraw()

    def close(self) -> None:
        """Draw the final state and stop.

        Calling it again does nothing.
        """
        if self._closed:
            return
        self._closed = True
        try:
            for stream, rest in self._held.items():
                if rest:
                    self._write_lines(rest + "\n", stream)
        finally:
            self._screen.close(self._done, self._done_by_worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _draw(self) -> None:
        if not self._closed:
            self._screen.draw(self._done, self._done_by_worker)
        self._due = self._clock() + self._screen.interval_s

    def _write_lines(self, lines: str, stream: StreamName) -> None:
        target = sys.stdout if stream == "stdout" else sys.stderr
        self._screen.clear_for(target)
        target.write(for_stream(lines, target))
        target.flush()
        self._screen.redraw()


class _Figures:
    """The figures of one picture."""

    def __init__(
        self,
        total: int | None,
        unit: str,
        desc: str | None,
        *,
        scale: bool,
        style: Style,
        clock: Callable[[], float],
        rows: tuple[str, ...] = (),
    ) -> None:
        self.rows = [_in_one_line(name) for name in rows]
        self.total = total
        self.unit = unit
        self.desc = None if desc is None else _in_one_line(desc)
        self.scale = scale
        self.style = style
        self.clock = clock

    @property
    def unit_divisor(self) -> int:
        return 1024 if self.scale else 1000


class _Screen(Protocol):
    """The surface that progress is drawn on."""

    interval_s: float

    def draw(self, done: int, done_by_worker: dict[int, int]) -> None: ...
    def rename(self, row: int) -> None: ...
    def clear_for(self, target: TextIO) -> bool: ...
    def redraw(self) -> None: ...
    def close(self, done: int, done_by_worker: dict[int, int]) -> None: ...


class _Bars:
    """tqdm bars on a terminal, or its widgets in a notebook.

    Bar 0 is the overall one.
    """

    interval_s = BAR_INTERVAL_S

    def __init__(self, look: _Figures, file: TextIO | None, workers: int, *, notebook: bool) -> None:
        self._look = look
        self._file = file
        self._notebook = notebook
        self._bar_class = _bar_class(notebook=notebook)
        self._cleared = False
        self._size = _terminal_size(file)
        rows = (self._size or _USUAL_SIZE).lines
        self._most_rows = max(1, rows - 2)  # all but the overall bar and the cursor's line
        self._bars = [self._new_bar()]
        if look.style == "workers":
            self._add_rows(workers)

    def draw(self, done: int, done_by_worker: dict[int, int]) -> None:
        for row, n in self._count_by_row(done_by_worker).items():
            self._add_rows(row + 1)
            self._advance(self._bars[row + 1], n)
        self._advance(self._bars[0], done)

    def clear_for(self, target: TextIO) -> bool:
        # Text that goes to a file or a pipe doesn't touch the terminal, and a notebook keeps widgets apart.
        self._cleared = not self._notebook and target.isatty()
        if self._cleared:
            for bar in self._bars:
                bar.clear()
        return self._cleared

    def redraw(self) -> None:
        if self._cleared:
            for bar in self._bars:
                bar.refresh()
            self._cleared = False

    def close(self, done: int, done_by_worker: dict[int, int]) -> None:
        self.draw(done, done_by_worker)
        for bar in self._bars:  # top down: tqdm leaves each where the cursor then is
            bar.close()

    def _count_by_row(self, done_by_worker: dict[int, int]) -> dict[int, int]:
        """Count by row: workers that don't fit on the terminal share its last row."""
        counts: dict[int, int] = {}
        for worker_id, n in done_by_worker.items():
            row = min(worker_id, self._most_rows - 1)
            counts[row] = counts.get(row, 0) + n
        return counts

    def _add_rows(self, rows: int) -> None:
        while len(self._bars) - 1 < min(rows, self._most_rows):
            self._bars.append(self._new_bar(len(self._bars)))

    def _new_bar(self, row: int = 0) -> Any:
        look = self._look
        options: dict[str, Any] = {"file": self._file} if self._file is not None else {}
        if row:
            options |= {"desc": f"  {self._row_name(row)}", "bar_format": _WORKER_FORMAT}
        else:
            options |= {"desc": look.desc, "total": look.total}
            options |= {"bar_format": _ETA_FORMAT} if look.style == "eta" else {}
        bar = self._bar_class(
            unit=look.unit,
            unit_scale=look.scale,
            unit_divisor=look.unit_divisor,
            mininterval=0,  # `Progress` has looked at the clock already
            miniters=0,
            ncols=None if self._size else _USUAL_SIZE.columns,
            nrows=None if self._size else _USUAL_SIZE.lines,
            dynamic_ncols=self._size is not None,
            leave=True,
            position=row,
            **options,
        )
        bar._time = look.clock  # noqa: SLF001 - tqdm reads the wall clock, which may jump
        bar.start_t = bar.last_print_t = look.clock()
        return bar

    def rename(self, row: int) -> None:
        if row + 1 < len(self._bars):
            self._bars[row + 1].desc = f"  {self._row_name(row + 1)}: "

    def _row_name(self, row: int) -> str:
        and_up = " and up" if row == self._most_rows else ""
        names = self._look.rows
        return (names[row - 1] if row <= len(names) else f"worker {row - 1}") + and_up

    @staticmethod
    def _advance(bar: Any, n: int) -> None:
        bar.update(n - bar.n)


class _Lines:
    """Prints a line now and then, and one at the end, where stderr is a file or a pipe."""

    def __init__(self, look: _Figures, file: TextIO) -> None:
        self._look = look
        self._file = file
        self._start_s = look.clock()
        self.interval_s = _line_interval_s()

    def draw(self, done: int, done_by_worker: dict[int, int]) -> None:  # noqa: ARG002 - a line has no room for workers
        look = self._look
        line = tqdm.format_meter(  # type: ignore[call-arg]  # it takes extra fields for the format
            done,
            look.total or 0,
            look.clock() - self._start_s,
            unit=look.unit,
            unit_scale=look.scale,
            unit_divisor=look.unit_divisor,
            bar_format=_LINE_FORMAT if look.total and done <= look.total else _OPEN_LINE_FORMAT,
            head=_head(look.desc),
        )
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except (OSError, ValueError):
            self.interval_s = float("inf")  # nobody reads stderr any more: no reason to end the run

    def rename(self, row: int) -> None:
        pass  # a line has no rows

    def clear_for(self, target: TextIO) -> bool:  # noqa: ARG002 - whole lines never shred each other
        return False

    def redraw(self) -> None:
        pass

    def close(self, done: int, done_by_worker: dict[int, int]) -> None:
        self.draw(done, done_by_worker)


def _bar_class(*, notebook: bool) -> type[Any]:
    """The bar of tqdm, without its monitor thread and with the fields that our formats name."""
    base: Any = _notebook_bar_class() if notebook else tqdm

    class Bar(base):  # type: ignore[misc]  # the base is chosen at run time
        monitor_interval = 0  # on this class only: the user's own bars keep theirs
        _lock = threading.RLock()  # tqdm's default also takes a semaphore shared with every forked process

        @property
        def format_dict(self) -> dict[str, Any]:
            fields: dict[str, Any] = super().format_dict
            return fields | _extra_fields(fields)

    return Bar


def _extra_fields(fields: dict[str, Any]) -> dict[str, str]:
    """`{head}`, `{left}` and `{eta}`: tqdm's own `{remaining}` reads 00:00 when no total is known."""
    total, done, elapsed = fields.get("total"), fields.get("n") or 0, fields.get("elapsed") or 0.0
    head = _head(fields.get("prefix"))
    if not total:
        return {"head": head, "eta": "?", "left": "?"}
    left = max(0, total - done)
    rate = fields.get("rate") or (done / elapsed if elapsed else 0.0)
    scaled = fields.get("unit_scale")
    return {
        "head": head,
        "eta": tqdm.format_interval(left / rate) if rate else "?",
        "left": tqdm.format_sizeof(left, divisor=fields["unit_divisor"]) if scaled else str(left),
    }


def _in_one_line(name: str) -> str:
    """Return a name, which may be a file's, in a form that can stand beside a bar."""
    return visible(name).replace("\n", " ").replace("\t", " ")


def _head(desc: str | None) -> str:
    return f"{desc.removesuffix(': ')}: " if desc else ""


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules and _has_kernel()


def _has_kernel() -> bool:
    try:
        shell = sys.modules["IPython"].get_ipython()
    except (KeyError, AttributeError):
        return False
    return shell is not None and "IPKernelApp" in shell.config


def _notebook_bar_class() -> Any:
    """Return the widget, or the text bar where ipywidgets is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm as auto_tqdm  # noqa: PLC0415 - pulls in asyncio and IPython

    return auto_tqdm


def _terminal_size(file: TextIO | None) -> os.terminal_size | None:
    """Return the size, or None when it is unknown.

    Some pseudo-terminals say that they are 0 by 0.
    """
    try:
        size = os.get_terminal_size(file.fileno() if file is not None else 2)
    except (OSError, ValueError):
        return None
    return size if size.columns and size.lines else None


def _line_interval_s() -> float:
    try:
        return max(0.0, float(os.environ[INTERVAL_VARIABLE]))
    except (KeyError, ValueError):
        return LINE_INTERVAL_S
