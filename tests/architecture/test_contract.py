"""Public names, signatures, error classes, options and exit codes change only on purpose."""

import difflib
from pathlib import Path

from support.contract import describe

RECORDED = Path(__file__).with_name("contract.txt")


def test_the_public_surface_is_as_recorded():
    recorded, now = RECORDED.read_text(), describe()
    changes = "\n".join(difflib.unified_diff(recorded.splitlines(), now.splitlines(), "recorded", "now", lineterm="", n=0))
    assert not changes, (
        f"{changes}\nIf this is meant, record it and tell of it in CHANGELOG.md:\n"
        "    .venv/bin/python -m tests.support.contract > tests/architecture/contract.txt"
    )
