"""The skeleton that `run`, `exec` and `job` share: from a checked plan to an exit code.

    signals and steering are on
      `-- make: the plan, checked        nothing to run (--dry-run): 0      a mistake: ConfigError
            `-- go ----- well: sum up ----------------------------.
                 `------ stopped or failed: drop, say why ---------+--> report, exit code

Runs in the coordinator's main thread. Whatever ends a run, its workers end with it, and nothing unfinished has the
final name.
"""

from __future__ import annotations

import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.cli.session.exit_codes import (
    EXIT_FAILURES,
    EXIT_HALTED,
    EXIT_MISMATCH,
    print_error,
)
from orchestrator.cli.session.report_file import ReportFile
from orchestrator.cli.session.resume import NothingToResumeError
from orchestrator.cli.session.signals import Signals, Terminated
from orchestrator.cli.session.steering import Steering
from orchestrator.errors import ConfigError, OrchestratorError, PausedError, ResumeMismatchError
from orchestrator.sinks.disk.in_place import ReaderGoneError
from orchestrator.sinks.disk.output_file import is_standard_output
from orchestrator.sinks.disk.stdout import discard_stdout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.pool.size.sizing import Sizing

_STOPS = (OrchestratorError, KeyboardInterrupt, Terminated)


class HaltedError(OrchestratorError):
    """The condition of --halt is met, and the run stops at once."""


class StoppedError(OrchestratorError):
    """A signal has asked the run to stop, and it has stopped gracefully."""


class Run(Protocol):
    """One run of a command.

    The methods are called in this order.
    """

    @property
    def outputs(self) -> Sequence[str]:
        """The names of the outputs.

        Nobody may read the report who may not read them.
        """

    def run(self) -> int:
        """Run to the end, and return the exit code.

        Raises:
            ConfigError: an output can't be written to; no worker was started.
            PausedError: it was asked to stop, and has saved what it takes to be resumed.
            StoppedError: it was asked to stop, and has stopped.
            HaltedError: the condition of --halt is met.
        """

    def drop(self, stop: BaseException, /) -> None:
        """Stop everything at once, and leave nothing behind.

        `stop` is what ended the run.
        """

    def why(self, error: OrchestratorError, /) -> str:
        """Return the text about the error that ended the run."""

    def left(self, stop: BaseException, /) -> str:
        """Return the text about the output after an early end, to be appended to the reason."""

    def sum_up(self) -> None:
        """Print what the run did, and its first failures."""

    def report(self, said: str | None, /) -> dict[str, Any]:
        """Return the content of `--report`.

        `said` is the reason of an early end.
        """

    def close(self) -> None:
        """Close what was opened to make the run."""


def run_command(
    name: str,
    sizing: Sizing,
    report: str | None,
    make: Callable[[Signals, Steering], Run | None],
) -> int:
    """Make a run, run it, and return the exit code.

    Args:
        name: of the command.
        sizing: what `-j` said.
        report: the file of `--report`.
        make: looks for mistakes, and returns the run; None: nothing is to run.

    Raises:
        ConfigError: a mistake that was found before a worker started.
    """
    try:
        with Signals() as signals, Steering(sizing) as steering:
            run = make(signals, steering)
            signals.raise_lost()  # while modules of the user's were imported
            if run is None:
                return 0
            with closing(run), ReportFile(report, name, run.outputs) as file:
                code, said = _carried_out(run, signals)
                file.write(code, finished=said is None, **run.report(said))
                return code
    except Terminated as stop:  # while the run was made
        print_error(f"stopped by {stop.signal.name}")
        return 128 + stop.signal
    except ResumeMismatchError as error:
        print_error(str(error))
        return EXIT_MISMATCH
    except NothingToResumeError as done:
        print_error(str(done))
        return EXIT_FAILURES if done.failed else 0


def _carried_out(run: Run, signals: Signals) -> tuple[int, str | None]:
    """Run it, report the end, and return the exit code with the reason of an early end."""
    try:
        code = run.run()
    except BaseException as stop:
        signals.end_at_once()
        run.drop(stop)
        if isinstance(stop, ConfigError) or not isinstance(stop, _STOPS):
            raise
        code, said = _early_end(run, stop, signals)
        if said:
            print_error(said + run.left(stop))
        return code, said
    run.sum_up()
    return code, None


def _early_end(run: Run, stop: BaseException, signals: Signals) -> tuple[int, str]:
    """Return the exit code, and the text about the reason, or ""."""
    match stop:
        case ReaderGoneError():
            if any(map(is_standard_output, run.outputs)):
                discard_stdout()
            return 0, ""
        case HaltedError():
            return EXIT_HALTED, str(stop)
        case OrchestratorError() if not isinstance(stop, PausedError | StoppedError):
            return EXIT_FAILURES, run.why(stop)
    number = signals.asked or (stop.signal if isinstance(stop, Terminated) else signal.SIGINT)
    if isinstance(stop, PausedError):
        return 128 + number, f"stopped by {number.name}"
    return 128 + number, "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
