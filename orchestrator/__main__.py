"""`python -m orchestrator`, and the console script."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; nothing heavy is imported before it is needed."""
    try:
        from orchestrator.cli import run_command_line  # noqa: PLC0415
        from orchestrator.cli.session.closed_streams import hold_closed_streams  # noqa: PLC0415

        hold_closed_streams()
        code = run_command_line(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:  # while that was imported
        sys.stderr.write("orchestrator: interrupted\n")
        code = _INTERRUPTED
    if code == _INTERRUPTED and argv is None:
        _leave(code)
    return code


def _leave(code: int) -> None:
    """End the process with this code.

    Where Ctrl-C has come in the middle of an `exec` of text, as dataclasses and named tuples use it, Python would end
    with SIGINT instead, though the exception was caught.
    """
    import atexit  # noqa: PLC0415 - only for this end
    import os  # noqa: PLC0415
    from contextlib import suppress  # noqa: PLC0415

    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public name
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
