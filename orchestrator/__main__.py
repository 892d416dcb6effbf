"""`python -m orchestrator`, and the console script."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; nothing heavy is imported before it is needed."""
    from orchestrator.cli import run_command_line  # noqa: PLC0415

    return run_command_line(list(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
