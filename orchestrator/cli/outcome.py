"""How a command ends: its exit codes, and the one line on stderr that says why."""

from __future__ import annotations

import sys

EXIT_FAILURES = 1
EXIT_USAGE = 2
EXIT_HALTED = 3
EXIT_MISMATCH = 4
EXIT_SIGINT = 130
EXIT_SIGTERM = 143


def complain(text: str) -> None:
    """Write one message to stderr, unless nobody reads it."""
    try:
        sys.stderr.write(f"orchestrator: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
