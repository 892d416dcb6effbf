"""Runs the code blocks of a Markdown page in order, in one folder, as a reader would.

    ```python            a whole program: python block.py
    ```python  # x.py    first line `# x.py`: saved under that name, for the blocks that follow
    ```sh                commands; `orchestrator` is the installed command
    ```toml  # x.toml    saved under that name
    ```text              what the block before it prints on stdout, to the letter

Blocks of other kinds, and those after `<!-- not run: REASON -->`, are only read.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 120
_BLOCK = re.compile(r"^(?P<before>[^\n]*)\n*```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.\w+)\n")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    line: int
    kind: str
    text: str
    skipped: bool

    @property
    def file(self) -> str | None:
        """The name that it is saved under, if it is a file."""
        named = _FILE.match(self.text)
        return named[1] if named else None


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(text.count("\n", 0, found.start("kind")) + 1, found["kind"], found["text"], "<!-- not run" in found["before"])
        for found in _BLOCK.finditer(text)
    ]


def run_page(page: Path, folder: Path, python: Path = Path(sys.executable)) -> None:
    """Run a page with this Python and the commands beside it; fail with the block that failed."""
    printed = ""
    for block in blocks(page):
        if block.skipped:
            continue
        if block.kind == "text":
            assert printed == block.text, f"{page.name}:{block.line} should print\n{block.text}but printed\n{printed}"
        elif block.file is not None:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.kind in {"python", "sh"}:
            printed = _run(page, block, folder, python)


def _run(page: Path, block: Block, folder: Path, python: Path) -> str:
    if block.kind == "python":
        (folder / "block.py").write_text(block.text, encoding="utf-8")
        command = [str(python), "block.py"]
    else:
        command = ["bash", "-euo", "pipefail", "-c", block.text]
    environment = os.environ | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, f"{page.name}:{block.line} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout
