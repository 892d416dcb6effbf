"""What a worker is at: a slot of words that it alone writes, and the coordinator reads without asking.

    word 0: the chunk's ident + 1, or 0: none     word 1: the item's position in it     word 2: since when, in ns
    word 3: the record's index in that item + 1, or BETWEEN, if the item is a run of records (a block of a file); or 0

Used only where somebody needs to know: calls with a timeout, and runs of records that a worker was lost with and that
run again; and, of every call, while its function is loaded (word 0 is LOADING), which may take far longer than an item.
The order of the writes makes what is read safe to act on: time before record, record before position,
position before ident, so that a position is never seen with a time that is older than its own.
(Aligned stores of 8 bytes, seen in the order in which they are made: so on x86-64; elsewhere a reader could see an item
with the time of the one before it, and it looks twice before it acts.) The clock is CLOCK_MONOTONIC, one and the same
in all processes of a machine.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import NamedTuple

WORDS = 4
SLOT_BYTES = 8 * WORDS
SLOTS = 4096
DECODING = 2**64 - 1
ENCODING = 2**64 - 2
LOADING = 2**64 - 1
BETWEEN = 2**64 - 1


class Watch:
    """The worker's side of its slot."""

    __slots__ = ("_words",)

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def loading(self) -> None:
        """Say that a function is being loaded, with all that its module imports."""
        words = self._words
        words[2] = monotonic_ns()
        words[0] = LOADING

    def loaded(self) -> None:
        """Say that it is."""
        words = self._words
        words[2] = monotonic_ns()
        words[0] = 0

    def begin(self, ident: int) -> None:
        """Say that the items of this chunk are being unpickled."""
        words = self._words
        words[2] = monotonic_ns()
        words[3] = 0
        words[1] = DECODING
        words[0] = ident + 1
        _enter(self)

    def item(self, position: int) -> None:
        """Say that the item at this position begins."""
        words = self._words
        words[2] = monotonic_ns()
        words[3] = 0
        words[1] = position

    def record(self, index: int) -> None:
        """Say that this record of the present item begins."""
        words = self._words
        words[2] = monotonic_ns()
        words[3] = index + 1

    def between(self) -> None:
        """Say that the present item is a run of records of which none is being run: it is read, or put together."""
        words = self._words
        words[2] = monotonic_ns()
        words[3] = BETWEEN

    def encoding(self) -> None:
        """Say that the results are being pickled."""
        words = self._words
        words[2] = monotonic_ns()
        words[1] = ENCODING

    def end(self) -> None:
        """Say that the chunk is through, but for the way back."""
        self._words[0] = 0
        _enter(None)


_watching: Watch | None = None


def _enter(watch: Watch | None) -> None:
    global _watching  # noqa: PLW0603 - one worker a process, which runs one chunk at a time
    _watching = watch


def watching() -> Watch | None:
    """Return the watch that is to be told of every record; None: nobody looks. For functions that run many records."""
    return _watching


class Glance(NamedTuple):
    """What a worker was at when it was looked at."""

    ident: int
    """-1: at no chunk that is watched."""
    position: int | None
    """None: before the first item, or behind the last."""
    since_ns: int
    """Of one that is at no chunk: when it last said anything."""
    record: int | None = None
    """Index in the item, of one that is a run of records; None: at none of them."""
    loads: bool = False
    """It is at no chunk, and loads a function."""
    between: bool = False
    """It is at an item that is a run of records, and at none of them."""


def look(words: memoryview) -> Glance:
    """Read a slot; in the coordinator."""
    ident = words[0]
    position = words[1]
    since_ns = words[2]
    record = words[3]
    if not ident or ident == LOADING or words[0] != ident or words[1] != position:
        return Glance(-1, None, since_ns, loads=ident == LOADING)
    at = None if record in {0, BETWEEN} else record - 1
    return Glance(ident - 1, position if position < ENCODING else None, since_ns, at, between=record == BETWEEN)
