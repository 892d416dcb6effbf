"""What the example job files run on the lines of Python's own library (see scripts/demo_data.py)."""

import re

DEFINITION = re.compile(r"\s*(?:async\s+)?(def|class)\s+(\w+)")
WORD = re.compile(r"[A-Za-z]{3,}")


def find_definition(record):
    """Name what a line defines; None in `name` if it defines nothing."""
    found = DEFINITION.match(record["text"])
    kind, name = found.groups() if found else (None, None)
    return {"file": record["file"], "line": record["line"], "kind": kind, "name": name}


def is_definition(record):
    return record["name"] is not None


def is_private(record):
    return record["name"].startswith("_")


def mark_private(record):
    return {**record, "private": True, "special": record["name"].startswith("__")}


def is_class(record):
    return record["kind"] == "class"


def kind(record):
    return record["kind"]


def by_file(record):
    return record["file"]


def count_methods(record):
    return {**record, "underscores": record["name"].count("_")}


def to_words(record):
    """One item a word of the line."""
    return [{"file": record["file"], "word": word.lower()} for word in WORD.findall(record["text"])]


def is_long(record):
    return len(record["word"]) > 12


def longest(window):
    """The longest word of a window of them."""
    return max(window, key=lambda record: len(record["word"]))


def word(record):
    return record["word"]
