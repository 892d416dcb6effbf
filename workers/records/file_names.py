"""The table of what a file's name says about its content, for all readers and writers.

clean.jsonl.gz    JSON lines, gzip            A.CSV.XZ    rows of CSV, xz            notes.txt    nothing
"""

from __future__ import annotations

COMPRESSIONS = {".gz": "gz", ".bgz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst"}
FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""Below the ending of the compression."""


def compression_of(path: str) -> str | None:
    """Return "gz", "bz2", "xz" or "zst", or None for a name of a plain file."""
    return _found(COMPRESSIONS, path)


def without_compression(path: str) -> str:
    """Return `path` without the ending that tells its compression."""
    ending = next((ending for ending in COMPRESSIONS if path.lower().endswith(ending)), "")
    return path[: len(path) - len(ending)]


def format_of(path: str) -> str | None:
    """Return "csv" or "jsonl", or None for a name that says nothing of the format."""
    return _found(FORMATS, without_compression(path))


def _found(table: dict[str, str], path: str) -> str | None:
    name = path.lower()
    return next((meaning for ending, meaning in table.items() if name.endswith(ending)), None)
