"""Sizes of the blocks that files are cut into, where the user gave none.

Pure.

Small enough that every worker gets several, or a short file of records that take long would be one worker's work; large
enough that what a block costs by itself, a tenth of a millisecond, is little beside what is done with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.sources.inputs import Input

SMALLEST_BYTES = 256
_UNPACKED = 4
"""Text is about so many times as large as its compressed file."""


def block_bytes_for(inputs: Iterable[Input], blocks: int, most_bytes: int, least_bytes: int = SMALLEST_BYTES) -> int:
    """Return a size that makes about so many blocks of all inputs.

    The largest size, where the size of an input isn't known.
    """
    total = 0
    for entry in inputs:
        if entry.size_bytes is None:
            return most_bytes
        total += entry.size_bytes * (_UNPACKED if entry.compression else 1)
    return min(max(total // blocks, least_bytes), most_bytes)
