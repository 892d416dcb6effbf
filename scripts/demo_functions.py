"""What the demo runs on every record. A function gets one record and returns one, or None to drop it."""

import re

DEFINITION = re.compile(r"\s*(?:async\s+)?(def|class)\s+(\w+)")
WORD = re.compile(r"[A-Za-z]+")


def definitions(record):
    """Keep the lines that define a function or a class, and count the words in them."""
    words = WORD.findall(record["text"])
    found = DEFINITION.match(record["text"])
    if found is None:
        return None
    kind, name = found.groups()
    return {"file": record["file"], "line": record["line"], "kind": kind, "name": name, "words": len(words)}
