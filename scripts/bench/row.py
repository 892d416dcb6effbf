"""A row of the table, and how one measurement of it is started."""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from before import BEFORE, environment_of
from observe import observe
from sides import OURS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DATA = ROOT / ".bench"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(HERE), "PYTHONHASHSEED": "0"}
TREES = {}
"""Under "before": where the older packages are, if they take part."""


def environment(side):
    return environment_of(side, ENVIRONMENT, TREES.get(BEFORE))


def as_ours(side):
    """Return by what name a side is measured; the older state is measured as ours is."""
    return OURS if side == BEFORE else side


@dataclass(frozen=True)
class Row:
    """One thing that is measured, on several sides."""

    name: str
    title: str
    unit: str
    higher_is_better: bool
    sides: tuple[str, ...]
    measure: Callable[..., dict]  # (row, side, quick) -> {"value": ..., "detail": {...}}
    goals: Callable[[dict, dict], list]  # (medians by side, medians of what ours told aside)


def in_child(row, side, *, quick, memory=False):
    """Run measure.py; with `memory`, `peak_mb` is what all its processes held at most."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        argv = [sys.executable, HERE / "measure.py", row.name, as_ours(side), str(int(quick)), answer]
        seen = observe(argv, env=environment(side), memory=memory)
        measured = json.loads(answer.read_text())
    if memory:
        measured["peak_mb"] = seen.peak_bytes / 2**20
    return measured


def peak_memory(row, side, *, quick):
    measured = in_child(row, side, quick=quick, memory=True)
    return measured | {"value": measured["peak_mb"]}
