"""Calls of user functions from a node.

An error names the node and the item, and results before it are kept.

Owns no state. Runs in the coordinator process.
"""

from __future__ import annotations

from operator import length_hint
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ItemError
from orchestrator.graph.flow.ownership import copied, is_safe
from workers.errors.describe import describe, text_of, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.graph.flow.node import Node


def item_error(  # noqa: PLR0917 - all six say where it happened
    node: Node, port: int, items: list[Any], place: int, what: str, cause: BaseException | None, behind: int = 0
) -> ItemError:
    """Return the error for the item at `place` of the list that `port` was pushed.

    `behind` items have come since.
    """
    inlet = node.inlets[port]
    index = (inlet.items - behind - len(items) if inlet is not None else 0) + place
    at = f"input {port}, " if len(node.inlets) > 1 else ""
    reason = f": {type_name(type(cause))}: {text_of(cause)}" if cause is not None else ""
    shown = describe(items[place])
    error = ItemError(f"{node.name}: {what} ({at}item {index}, {shown}){reason}", item=items[place], index=index)
    error.__cause__ = cause
    error.raised_by_function = cause is not None
    return error


def reached(items: list[Any], iterator: Iterator[Any]) -> int:
    """Return the place of the item that a list's iterator gave last."""
    return len(items) - length_hint(iterator) - 1


def apply(
    node: Node, port: int, fn: Callable[[Any], Any], items: list[Any], what: str, *, copies: bool = False
) -> tuple[list[Any], ItemError | None]:
    """Call `fn` for each item.

    Return the results up to the first error, and that error.

    A plain loop, not `map`: a `StopIteration` that the function raises must not pass for the end of the list. With
    `copies`, a result that the function may still change later is copied before it is called again.
    """
    results: list[Any] = []
    add = results.append
    iterator = iter(items)
    try:
        if copies:
            for item in iterator:
                result = fn(item)
                own_references = 2 if result is item else 0  # the list's and the variable's
                add(result if is_safe(result, own_references) else copied(result))
        else:
            for item in iterator:
                add(fn(item))
    except Exception as cause:
        return results, item_error(node, port, items, reached(items, iterator), f"{what} raised", cause)
    return results, None
