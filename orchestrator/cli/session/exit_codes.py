"""The exit codes of a command, and the one line on stderr that says why it ended."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from orchestrator.machine.terminal import for_stream, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

EXIT_FAILURES = 1
EXIT_USAGE = 2
EXIT_HALTED = 3
EXIT_MISMATCH = 4
EXIT_SIGINT = 130
EXIT_SIGTERM = 143
EXIT_SIGHUP = 129


def print_error(text: str) -> None:
    """Write one message to stderr, unless nobody reads it."""
    tell(f"orchestrator: {text}\n")


def tell(text: str) -> None:
    """Write a text of ours, which may contain names and errors, to stderr, unless nobody reads it."""
    with suppress(OSError, ValueError):
        sys.stderr.write(visible(text))
        sys.stderr.flush()


@contextmanager
def warnings_told() -> Iterator[None]:
    """Print Python's warnings in this process as messages of ours, in one line each."""

    def tell_warning(message: Warning | str, *_: object) -> None:
        print_error("warning: " + " ".join(str(message).split()))

    with warnings.catch_warnings():
        warnings.showwarning = tell_warning  # type: ignore[assignment]
        yield


def show(text: str) -> None:
    """Write requested text to stdout, as it is unless that is a terminal."""
    try:
        sys.stdout.write(for_stream(text, sys.stdout))
    except UnicodeEncodeError:  # a file name that is not text
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(text))
