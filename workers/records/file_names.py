"""The table of what a file's name says of its compression, for all readers and writers.

Below that ending stands the format's (`formats/registry.py`):

clean.jsonl.gz    JSON lines, gzip            A.CSV.XZ    rows of CSV, xz            notes.txt    nothing
"""

from __future__ import annotations

COMPRESSIONS = {".gz": "gz", ".bgz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst"}


def compression_of(path: str) -> str | None:
    """Return "gz", "bz2", "xz" or "zst", or None for a name of a plain file."""
    name = path.lower()
    return next((kind for ending, kind in COMPRESSIONS.items() if name.endswith(ending)), None)


def without_compression(path: str) -> str:
    """Return `path` without the ending that tells its compression."""
    ending = next((ending for ending in COMPRESSIONS if path.lower().endswith(ending)), "")
    return path[: len(path) - len(ending)]


