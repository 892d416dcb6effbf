"""The command has one name, `orchestrator`; that `python -m orchestrator` is the same is said once."""

from pathlib import Path

import pytest

from orchestrator.cli.session.resume import resume_command

ROOT = Path(__file__).resolve().parents[2]
SAID_IN = ROOT / "orchestrator" / "guide" / "first-steps.md"
LONG_NAME = "python -m orchestrator"


def test_the_long_name_is_said_once():
    texts = [*ROOT.glob("*.md"), *(ROOT / "scripts").rglob("*.toml"), *(ROOT / "orchestrator").rglob("*.md")]
    code = [each for each in (ROOT / "orchestrator").rglob("*.py") if each.name != "__main__.py"]
    said = {each for each in (*texts, *code) if LONG_NAME in each.read_text()}
    assert said == {SAID_IN}
    assert SAID_IN.read_text().count(LONG_NAME) == 1


@pytest.mark.parametrize(
    ("typed", "resumes"),
    [
        ("run f:f a b --checkpoint c", "run f:f a b --checkpoint c --resume"),
        ("run f:f a --checkpoint c --resume", "run f:f a --checkpoint c --resume"),
        ("run f:f a --resume=force --checkpoint c", "run f:f a --checkpoint c --resume"),
        ("run f:f --resume --accept function --checkpoint c a", "run f:f --checkpoint c a --resume"),
        ("run f:f --checkpoint c -- a --accept --resume", "run f:f --checkpoint c --resume -- a --accept --resume"),
        ("run f:f 'a b' --checkpoint c", "run f:f 'a b' --checkpoint c --resume"),
    ],
)
def test_the_command_that_resumes_a_run(typed, resumes, monkeypatch):
    import shlex

    monkeypatch.setattr("sys.argv", ["/somewhere/orchestrator", *shlex.split(typed)])
    assert resume_command() == f"orchestrator {resumes}"
