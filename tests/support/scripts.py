"""Programs that use the package, each in an interpreter of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60


def environment() -> dict[str, str]:
    ours = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    # Unbuffered, a line is several writes, and those of two processes to one pipe tear each other's.
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | ours


def run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the interpreter to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env=environment(),
        **options,
    )


def run_script(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script with no guard and nothing else that our own tests would need."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text))
    return run([str(path), *arguments], cwd=folder)


def start_script(folder: Path, text: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a script that will be interrupted or killed; it is the leader of a process group of its own."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text))
    return subprocess.Popen(
        [sys.executable, "-u", str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment(),
        process_group=0,
        **options,
    )


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    """Return what the program wrote, after checking that all went well and quietly."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout
