"""Tells what a worker runs, by a slot of words in shared memory that the coordinator reads.

    word 0: the watched chunk's ident + 1, or LOADING, or 0: none      word 1: the item's position in it, or the call
    word 2: since when, in ns                                          word 3: the record's index in that item + 1,
    word 4: twice (ident + 1) of the chunk begun last, + 1 once                BETWEEN: it is a run of records, or 0
            its answer stands behind what is to be written
    word 7: ident + 1 of the chunk whose function has forked a child that returned from it, too, or 0
    words 5, 6: the worker skips chunks with idents from the one up to the other: they were taken back

The worker writes words 0 to 4, the coordinator 5 and 6, such a child word 7.

Words 0 to 3 are used where somebody needs to know more than which chunk: calls with a timeout, or whose items must not
run twice, and runs of records that a worker was lost with and that run again; and, of every call, while its function is
loaded, which may take far longer than an item. The order of the writes makes what is read safe to act on: time before
record, record before position, position before ident, so that a position is never seen with a time that is older than
its own. (Aligned stores of 8 bytes, seen in the order in which they are made: so on x86-64; elsewhere a reader could
see an item with the time of the one before it, and it looks twice before it acts.) The clock is CLOCK_MONOTONIC, one
and the same in all processes of a machine.

Words 4 to 6 decide who has a chunk that is taken back: each side writes its own word, then reads the other's (Dekker;
E. W. Dijkstra, EWD 123, 1965), with a fence between, which is what taking a lock gives. If the coordinator does not see
the chunk begun, the worker will see that it is to skip it. If it does, the worker may have seen either: it runs the
chunk, or answers that it did not (`Kind.RETURNED`).
"""

from __future__ import annotations

import threading
from time import monotonic_ns
from typing import NamedTuple

WORDS = 8
"""A cache line."""
SLOT_BYTES = 8 * WORDS
SLOTS = 4096
DECODING = 2**64 - 1
ENCODING = 2**64 - 2
LOADING = 2**64 - 1
BETWEEN = 2**64 - 1


class Watch:
    """The worker's side of its slot."""

    __slots__ = ("_enter_fence", "_leave_fence", "_words")

    def __init__(self, words: memoryview) -> None:
        self._words = words
        fence = threading.Lock()
        self._enter_fence, self._leave_fence = fence.acquire, fence.release

    def takes(self, ident: int) -> bool:
        """Report that this chunk begins.

        Returns False if it was taken back: then it is to be skipped.
        """
        words = self._words
        words[4] = 2 * ident + 2
        self._enter_fence()
        self._leave_fence()
        return ident >= words[6] or ident < words[5]

    def answered(self, ident: int) -> None:
        """Report that this chunk is done, and only its answer has to be written."""
        self._words[4] = 2 * ident + 3

    def forked(self, ident: int) -> bool:
        """Report in a forked child that it returned, too.

        Returns False if its parent has answered already.
        """
        words = self._words
        words[7] = ident + 1
        return bool(words[4] == 2 * ident + 2)

    def has_forked(self, ident: int) -> bool:
        """Tell whether a child has reported that."""
        return bool(self._words[7] == ident + 1)

    def loading(self, call: int) -> None:
        """Report that the function of this call is being loaded, with all that its module imports."""
        words = self._words
        words[2] = monotonic_ns()
        words[1] = call
        words[0] = LOADING

    def loaded(self) -> None:
        """Report that the function is loaded."""
        words = self._words
        words[2] = monotonic_ns()
        words[0] = 0

    def begin(self, ident: int) -> None:
        """Report that the items of this chunk are being unpickled."""
        words = self._words
        words[2] = monotonic_ns()
        words[3] = 0
        words[1] = DECODING
        words[0] = ident + 1
        _enter(self)

    def item(self, position: int) -> None:
        """Report that the item at this position begins."""
        words = self._words
        words[2] = monotonic_ns()
        words[3] = 0
        words[1] = position

    def record(self, index: int) -> None:
        """Report that this record of the present item begins."""
        words = self._words
        words[2] = monotonic_ns()
        words[3] = index + 1

    def between(self) -> None:
        """Report that the present item is a run of records that is being read or joined."""
        words = self._words
        words[2] = monotonic_ns()
        words[3] = BETWEEN

    def encoding(self) -> None:
        """Report that the results are being pickled."""
        words = self._words
        words[2] = monotonic_ns()
        words[1] = ENCODING

    def end(self) -> None:
        """Report that the chunk is done, and only its answer has to be written."""
        self._words[0] = 0
        _enter(None)


_watching: Watch | None = None


def _enter(watch: Watch | None) -> None:
    global _watching  # noqa: PLW0603 - one worker a process, which runs one chunk at a time
    _watching = watch


def watching() -> Watch | None:
    """Return the watch to report every record to, or None.

    For functions that run many records.
    """
    return _watching


class SlotReading(NamedTuple):
    """The state of a worker at one look."""

    ident: int
    """-1: at no chunk that is watched."""
    position: int | None
    """None: before the first item, or behind the last."""
    since_ns: int
    """Of one that is at no chunk: when it last said anything."""
    record: int | None = None
    """Index in the item, of one that is a run of records; None: at none of them."""
    loads: int | None = None
    """The call whose function it loads; None: it loads none."""
    between: bool = False
    """It is at an item that is a run of records, and at none of them."""
    decoding: bool = False
    """It is at a watched chunk, and unpickles its items."""
    last: int = -1
    """The chunk that it began last, whether watched or not; -1: none yet."""
    at_work: bool = False
    """Whether it is still at that one."""


def read_slot(words: memoryview) -> SlotReading:
    """Read a slot, in the coordinator."""
    ident = words[0]
    position = words[1]
    since_ns = words[2]
    record = words[3]
    last, at_work = words[4] // 2 - 1, words[4] > 0 and words[4] % 2 == 0
    if not ident or ident == LOADING or words[0] != ident or words[1] != position:
        loads = position if ident == LOADING else None
        return SlotReading(-1, None, since_ns, loads=loads, last=last, at_work=at_work)
    at = None if record in {0, BETWEEN} else record - 1
    return SlotReading(
        ident - 1,
        position if position < ENCODING else None,
        since_ns,
        at,
        between=record == BETWEEN,
        decoding=position == DECODING,
        last=last,
        at_work=at_work,
    )


_fence = threading.Lock()


def take_back(words: memoryview, first: int, behind: int) -> int:
    """Make a worker skip its chunks with idents from `first` up to `behind`.

    Called in the coordinator.

    While it has not come to those that it was to skip before, it skips all between them and these, too.

    Returns:
        The ident of the chunk that it began last. Those with greater ones it will skip for certain; one from
        `first` up to that it may have begun, and answers.
    """
    if not words[6] or words[4] // 2 - 1 >= words[6]:  # past all that it was to skip; until word 6 is set it skips none
        words[5] = first
    words[6] = behind
    with _fence:
        return words[4] // 2 - 1
