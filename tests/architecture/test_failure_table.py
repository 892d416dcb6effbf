"""DESIGN.md's table of failures: every row is whole, and the test that it names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DESIGN = (ROOT / "orchestrator" / "DESIGN.md").read_text()
TABLE = DESIGN[DESIGN.index("## Failures") : DESIGN.index("## Limits")]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in TABLE.splitlines()
    if line.startswith("| ") and not line.startswith("| event |")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_row_is_whole_and_its_test_exists(row):
    assert len(row) == 5, "event | state | action | the user sees | test"
    assert all(row)
    named = re.fullmatch(r"`([\w/]+\.py)::(test_\w+)`", row[-1])
    assert named, f"name the test as `file.py::test_name`, not as {row[-1]}"
    path = named[1] if "/" in named[1] else f"tests/process/{named[1]}"
    assert re.search(rf"^def {named[2]}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path} has no {named[2]}"
