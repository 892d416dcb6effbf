"""An older state of this repository as one more side, so that both are measured in one run."""

# ruff: noqa: RUF001 - a ratio has its sign

import dataclasses
import io
import os
import subprocess
import tarfile
from pathlib import Path

from sides import OURS

BEFORE = "before"


def tree_of(revision, data):
    """Return a folder that holds the packages as they were at a revision; made once for each commit."""
    root = Path(__file__).resolve().parents[2]
    asked = ["git", "-C", root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    if not commit:
        raise SystemExit(f"no such revision: {revision}")
    folder = data / f"before-{commit[:12]}"
    if not folder.exists():
        archive = ["git", "-C", root, "archive", commit, "orchestrator", "workers"]
        packed = subprocess.run(archive, capture_output=True, check=True).stdout
        unfinished = folder.with_suffix(".unfinished")
        with tarfile.open(fileobj=io.BytesIO(packed)) as files:
            files.extractall(unfinished, filter="data")
        unfinished.rename(folder)
    return folder


def environment_of(side, environment, tree):
    """Return the environment in which a side's programs are started: the older packages come first."""
    if side != BEFORE:
        return environment
    return environment | {"PYTHONPATH": os.pathsep.join((str(tree), environment["PYTHONPATH"]))}


def beside(row, goal):
    """Return the row with the older state as a side behind ours, and how we stand against it; None: it has no side."""
    if OURS not in row.sides:
        return None
    sides = tuple(new for side in row.sides for new in ((side, BEFORE) if side == OURS else (side,)))

    def goals(medians, _aside):
        if BEFORE not in medians or OURS not in medians:
            return []
        ours, before = medians[OURS], medians[BEFORE]
        return [goal("× before", ours / before if row.higher_is_better else before / ours, 0.97, at_least=True)]

    return dataclasses.replace(row, sides=sides, goals=goals)
