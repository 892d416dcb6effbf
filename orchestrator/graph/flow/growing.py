"""Grows buffers where branches of one stream meet again, as bounded ones could deadlock.

    route --e (rare)--> merge_sorted      merge_sorted waits for an `e` before it takes more of the rest; its buffer for
          --rest------> merge_sorted      the rest is full, so nothing is read, so there never is an `e`

A process network runs in bounded memory if buffers are bounded and the smallest full one grows when nothing else can
move (T. M. Parks, "Bounded Scheduling of Process Networks", 1995). Here an edge is full because its consumer has no
room for it while it waits for another input. It may grow if nothing that this wait depends on will move by
itself; that is checked edge by edge (Geilen and Basten, "Requirements on the Execution of Kahn Process Networks",
2003), so that a part of a graph doesn't stand still until another part, which may be endless, has ended.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.graph.flow.node import Node, Outlet


def grow_smallest(meeting: Iterable[Node], share_bytes: int) -> bool:
    """Grow the smallest edge that alone keeps something from moving, and return whether there was one.

    Args:
        meeting: the nodes of several inputs. Nothing has moved in the last turn.
        share_bytes: how much may wait in memory before an edge.
    """
    full = [inlet for node in meeting for inlet in node.inlets if _is_full(inlet)]
    stuck = [inlet for inlet in full if not _will_move(inlet.consumer)]
    if not stuck:
        return False
    min(stuck, key=lambda inlet: inlet.waiting).grow(share_bytes)
    return True


def _is_full(inlet: Outlet) -> bool:
    """Tell whether this edge is blocked by a consumer whose own consumers have room."""
    if inlet.ended or inlet.cancelled or inlet.capacity() > 0:
        return False
    return all(outlet.capacity() > 0 for outlet in inlet.consumer.outlets)


def _will_move(node: Node) -> bool:
    """Tell whether something that a node waits for will happen by itself.

    A node waits for whatever its inputs come from, and that for its own inputs and for the consumers that are full.
    """
    seen, left = {node}, [node]
    while left:
        node = left.pop()
        if node.is_waiting:
            return True
        near = [inlet.owner for inlet in node.inlets if not inlet.ended]
        near += [outlet.consumer for outlet in node.outlets if not outlet.ended and outlet.capacity() <= 0]
        for each in near:
            if each not in seen:
                seen.add(each)
                left.append(each)
    return False
