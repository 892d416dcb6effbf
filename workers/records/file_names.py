"""The table of what a file's name says of its compression, for all readers and writers.

Below that ending stands the format's (`formats/registry.py`):

clean.jsonl.gz    JSON lines, gzip            A.CSV.XZ    rows of CSV, xz            notes.txt    nothing
"""

from __future__ import annotations

COMPRESSIONS = {".gz": "gz", ".bgz": "gz", ".bz2": "bz2", ".xz": "xz", ".zst": "zst"}


def compression_of(path: str) -> str | None:
    """Return "gz", "bz2", "xz" or "zst", or None for a name of a plain file."""
    name = _name_in(path).lower()
    return next((kind for ending, kind in COMPRESSIONS.items() if name.endswith(ending)), None)


def without_compression(path: str) -> str:
    """Return `path` without the ending that tells its compression."""
    name = _name_in(path)
    ending = next((ending for ending in COMPRESSIONS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def ending_of(path: str) -> str:
    """Return the ending below that of a compression, in small letters: ".csv" of "A.CSV.XZ", or ""."""
    name = without_compression(path).rpartition("/")[2].lower()
    return name[name.rfind(".") :] if "." in name else ""


def _name_in(path: str) -> str:
    """Return a path, or a web address without what stands behind "?"."""
    return path.partition("?")[0] if path.startswith(("http://", "https://")) else path
