"""Finds the chunk that a dead worker was running, and how far it was.

Pure. The other chunks are innocent.

    ended, its answer not written yet   ->  it has run, and is innocent
    at work                             ->  to blame; watched: its items before one that is known have run
    not begun                           ->  innocent, and has not run
    nothing at work                     ->  what ended last is to blame, if its answer was not here yet

Who else shares the worker therefore never counts. A worker that died while it loaded a function was at no chunk: then
those of that function's call are to blame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.engine.core.ledger import Chunk


class Share(NamedTuple):
    """The share of one lost chunk in the death."""

    to_blame: bool
    begun: int
    """How many of its items, from the first on, have begun, or may have."""


def shares(
    lost: Sequence[Chunk], *, last: int, loads: int | None, ident: int, position: int | None, decoding: bool
) -> list[Share]:
    """Return the share of each chunk that a worker died with, in the order of sending.

    Args:
        lost: the chunks.
        last: ident of the chunk that it began last; -1: none.
        loads: the call whose function it was loading.
        ident: of the watched chunk that it was at; -1: none.
        position: of the item in that one; None: before the first, or behind the last.
        decoding: whether it was before the first.
    """
    found: list[Share] = []
    for chunk in lost:
        begun = len(chunk.items) if chunk.ident <= last else 0
        if loads is not None:
            found.append(Share(chunk.call == loads, begun))
            continue
        if begun and chunk.ident == ident:
            begun = 0 if decoding else begun if position is None else position + 1
        found.append(Share(chunk.ident == last, begun))
    return found
