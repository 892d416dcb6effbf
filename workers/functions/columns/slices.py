"""Runs a chunk slice by slice, checking in between whether anybody still waits for it.

Runs in the worker's main thread, which owns the state.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from time import perf_counter

_SLICE_S = 0.005
"""About how long to run between two looks at whether anybody still waits for the chunk."""


class Slices:
    """Runs a call's chunks in slices of time, and tracks how many items fill one."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items = 1

    def run(
        self,
        items: Sized,
        run: Callable[[int, int], tuple[int, bool]],
        abandoned: Callable[[], bool],
        began: Callable[[int], None] | None = None,
    ) -> None:
        """Run over the items until all are done, or nobody waits for them any more.

        Args:
            items: may become fewer meanwhile.
            run: runs over so many items from a position on; returns how many it got through, and whether to continue.
            abandoned: whether nobody waits for the chunk any more; asked between two slices.
            began: is told the position of each item before it runs; a slice is one item then.
        """
        done = 0
        while done < len(items):
            wanted = min(self._items, len(items) - done)
            if began is not None:
                wanted = 1
                began(done)
            started = perf_counter()
            through, goes_on = run(done, wanted)
            done += through
            if not goes_on:
                return
            if done < len(items) or wanted > 1:
                self._took(through, perf_counter() - started)
            if done < len(items) and abandoned():
                return

    def _took(self, items: int, seconds: float) -> None:
        fits = int(items * _SLICE_S / seconds) if seconds > 0 else items * 8
        self._items = max(1, min(fits, items * 8))
