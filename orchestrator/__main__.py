"""`python -m orchestrator`, and the console script."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Nothing heavy is imported before it is needed.
    """
    if argv is None:
        _handle(_stop, signal.SIG_DFL)
    try:
        from orchestrator.cli import run_command_line  # noqa: PLC0415
        from orchestrator.cli.session.closed_streams import hold_closed_streams  # noqa: PLC0415

        hold_closed_streams()
        code = run_command_line(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:  # while that was imported
        sys.stderr.write("orchestrator: interrupted\n")
        code = _INTERRUPTED
    if argv is None:
        _handle(signal.SIG_DFL, _stop)
        if code == _INTERRUPTED:
            _leave(code)
    return code


def parallel() -> int:
    """Run `exec` with GNU parallel's defaults, as the console script `orchestrator-parallel`."""
    sys.argv[1:1] = ["exec", "--gnu"]
    return main()


def _handle(handler: Any, instead_of: Any) -> None:
    """Install a handler for the signals that end a command.

    A signal that has another handler, or is ignored (`nohup`), keeps that.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is instead_of:
            signal.signal(number, handler)


def _stop(number: int, _frame: object) -> NoReturn:
    """End the process, as a signal came before there was a run, or after it.

    A run has handlers of its own. An exception would not be certain to end anything: the import system has callbacks in
    which it would be told and ignored.
    """
    try:
        os.write(2, f"orchestrator: stopped by {signal.Signals(number).name}\n".encode())
    finally:  # also where the terminal is gone
        os._exit(128 + number)


def _leave(code: int) -> None:
    """End the process with this code.

    Where Ctrl-C has come in the middle of an `exec` of text, as dataclasses and named tuples use it, Python would end
    with SIGINT instead, though the exception was caught.
    """
    import atexit  # noqa: PLC0415 - only for this end
    from contextlib import suppress  # noqa: PLC0415

    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public name
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
