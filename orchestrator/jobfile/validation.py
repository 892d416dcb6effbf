"""Checks whether the keys of one table agree, by the rules of each kind of table."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from orchestrator.jobfile.diagnostics import Diagnostics
from orchestrator.jobfile.model import JobNode
from orchestrator.jobfile.tables import schema

_ORDER_OF = {"key": "sorted", "reverse": "sorted", "priorities": "priority", "ageing": "priority"}
"""Keys of a merge -> the order that they belong to."""


def check_combinations(node: JobNode, workflows: Collection[str], diagnostics: Diagnostics) -> None:
    """Report keys of a table that contradict each other, or need another one."""
    path, values = (node.kind, node.name), node.values
    for key, (partner, reason) in schema.GOES_WITH.get(node.kind, {}).items():
        if key in values and partner not in values:
            diagnostics.add((*path, key), f"{key!r} needs {partner!r}: {reason}")
    special = {"step": _step, "merge": _merge, "demultiplex": _demultiplex, "route": _route, "window": _window}
    if node.kind in special:
        special[node.kind](path, values, diagnostics)
    if "through" in values and values["through"] not in workflows:
        diagnostics.unknown((*path, "through"), values["through"], "there is no workflow", workflows)


def _step(path: tuple[str, str], values: dict[str, Any], diagnostics: Diagnostics) -> None:
    for action in (each for each in schema.INLINE if each in values):
        for key in schema.OPTIONS:
            if key in values and key not in schema.OPTIONS_INLINE[action]:
                diagnostics.add((*path, key), f"{key!r} applies to steps that run in workers, not to {action}")


def _window(path: tuple[str, str], values: dict[str, Any], diagnostics: Diagnostics) -> None:
    if "length_s" in values and "at" not in values:
        diagnostics.add(path, f"[window.{path[1]}] lacks 'at': a function that gives an item's time in seconds")


def _demultiplex(path: tuple[str, str], values: dict[str, Any], diagnostics: Diagnostics) -> None:
    if "to" in values and "{" not in values["to"]:
        diagnostics.add((*path, "to"), "'to' must be a path with {key} in it, for an output per key")


def _route(path: tuple[str, str], values: dict[str, Any], diagnostics: Diagnostics) -> None:
    default = values.get("default", "rest")
    if default in values.get("to", {}):
        diagnostics.add((*path, "to"), f"{default!r} is the default output; rename one of them")


def _merge(path: tuple[str, str], values: dict[str, Any], diagnostics: Diagnostics) -> None:
    order = values.get("order", "fair")
    for key, wants in _ORDER_OF.items():
        if key in values and order != wants:
            diagnostics.add((*path, key), f"{key!r} needs order = {wants!r}")
    if order != "priority" or "from" not in values:
        return
    names = [str(ref) for ref in values["from"]]
    given = values.get("priorities", {})
    for name in given:
        if name not in names:
            diagnostics.unknown((*path, "priorities", name), name, "'from' has no stream", names)
    for name in names:
        if name not in given:
            diagnostics.add(path, f"[merge.{path[1]}] lacks a priority for {name!r} in 'priorities'")
