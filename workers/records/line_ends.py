r"""The formats of records, and the line ends of each.

For CSV a line ends at "\n", "\r\n" and "\r", as the csv module sees it, for all others at the byte that FORMATS names.
"""

from __future__ import annotations

from typing import NamedTuple


class Format(NamedTuple):
    """One format of records."""

    told: str
    """What a record is, for `--help`."""
    end: bytes = b"\n"
    """The one byte that ends a line, or whatever a record is for formats without lines."""


FORMATS = {
    "lines": Format("text without its line end (default)"),
    "jsonl": Format("the decoded JSON of each line"),
    "csv": Format("a dict per row"),
    "blocks": Format("raw bytes"),
    "files": Format("the path itself"),
}


def count_line_ends(data: bytes, record_format: str, before: bytes = b"") -> int:
    r"""Count the line ends in bytes.

    Args:
        data: any piece of a file; it may begin or end between "\r" and "\n".
        record_format: one of FORMATS.
        before: the byte before the piece: a line end that lies on both sides was counted with its "\r".
    """
    found = data.count(FORMATS[record_format].end)
    if record_format == "csv" and (returns := data.count(b"\r")):
        found += returns - data.count(b"\r\n")
    if record_format == "csv" and before == b"\r" and data[:1] == b"\n":
        found -= 1
    return found


def whole_lines(data: bytes, record_format: str) -> list[bytes]:
    """Return the lines of a block, each with its line end."""
    if record_format == "csv":
        return data.splitlines(keepends=True)
    end = FORMATS[record_format].end
    *lines, last = data.split(end)
    return [line + end for line in lines] + [last] * bool(last)


def line_around(data: bytes, at: int, record_format: str) -> tuple[int, int]:
    """Return the start of the line of the byte at an offset, and its end, behind the line end."""
    end = FORMATS[record_format].end
    start, feed = data.rfind(end, 0, at) + 1, data.find(end, at)
    if record_format != "csv":
        return start, feed + 1 or len(data)
    start, bare = max(start, data.rfind(b"\r", 0, at) + 1), data.find(b"\r", at)
    if bare >= 0 and not 0 <= feed < bare:
        return start, bare + (2 if feed == bare + 1 else 1)
    return start, feed + 1 or len(data)
