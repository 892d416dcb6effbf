"""Messages, docstrings and names are plain English: phrases and names that were rewritten once don't come back."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for folder in ("orchestrator", "workers") for path in (ROOT / folder).rglob("*.py"))
PHRASES = {
    "gone on with": "resumed",
    "go on": "continue",
    "goes on": "continues",
    "of its own accord": "by itself",
    "in the place of": "in place of",
    "walks away": "leaves",
    "came to its end": "ended",
    "come to its end": "ended",
    "what it came to": "the summary",
    "took longer than its": "timed out",
    "never free": "say how much there is",
    "work that was begun last": "the newest work",
    "is no size": "invalid size: …; use …",
    "is no number": "invalid number of …: use …",
    "is no record": "is not a record",
    "is no sink": "is not a sink",
    "is no text": "is not a text file",
    "has nothing of": "lacks",
    "can't be had": "is not available",
    "for ever": "forever",
    "somebody else's": "another process's",
}
"""What a message, docstring or comment must not say, and what to say."""
NAMES = {
    *("attend", "burden", "complain", "deed", "departure", "desk", "errand", "glance", "hearing", "letter_sinks"),
    *("looked", "porter", "settling", "standby", "agreement", "describing", "ending", "following", "hold", "loans"),
    *("locating", "mistakes", "places", "redoing", "told"),
}
"""What no module, class or function is called: not the field's words."""


def _messages(tree: ast.Module) -> list[tuple[int, str]]:
    """Return the texts of a module that a user may see, with their lines: all but what stands alone, as docstrings do."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in alone)
    return [(node.lineno, node.value) for node in constants if isinstance(node.value, str)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_messages_and_names_are_plain(path):
    tree = ast.parse(path.read_text())
    for line, text in _messages(tree):
        for phrase, better in PHRASES.items():
            assert not re.search(rf"\b{re.escape(phrase)}\b", text), f"{path}:{line} says {phrase!r}: write {better!r}"
    defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = {path.stem, *(node.name for node in ast.walk(tree) if isinstance(node, defined))}
    assert not {name for name in names if name.lstrip("_").lower() in NAMES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_begin_with_one_clause(path):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, documented) and (text := ast.get_docstring(node)):
            first = re.sub(r"`[^`]*`|\"[^\"]*\"", "", text.splitlines()[0])
            assert ";" not in first, f"{path}: {text.splitlines()[0]!r}: put what follows the semicolon into the text below"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_comments_and_docstrings_are_plain(path):
    text = " ".join(path.read_text().split())
    for phrase, better in PHRASES.items():
        assert not re.search(rf"\b{re.escape(phrase)}\b", text), f"{path} says {phrase!r}: write {better!r}"
