"""Draws a job's graph as text, for Mermaid or Graphviz (DOT)."""

from __future__ import annotations

from orchestrator.jobfile.model import Job, JobNode
from orchestrator.jobfile.tables.schema import ACTIONS

_DETAILS = {
    "source": ("read", "items"),
    "step": ACTIONS,
    "window": ("size", "length_s"),
    "join": ("how",),
    "merge": ("order",),
    "tee": ("to",),
    "demultiplex": ("to",),
    "sink": ("write", "call"),
}
_SHAPES = {"source": ("([", "])"), "sink": ("([", "])"), "route": ("{{", "}}"), "demultiplex": ("{{", "}}")}


def draw(job: Job, form: str) -> str:
    """Return the graph of a job.

    `form` is "mermaid" or "dot".
    """
    return _mermaid(job) if form == "mermaid" else _dot(job)


def _mermaid(job: Job) -> str:
    ids = {name: f"n{number}" for number, name in enumerate(job.nodes)}
    lines = ["flowchart LR"]
    for name, node in job.nodes.items():
        left, right = _SHAPES.get(node.kind, ("[", "]"))
        text = _escaped("<br/>".join(_label(node)))
        lines.append(f'    {ids[name]}{left}"{text}"{right}')
    for start, output, end in _edges(job):
        arrow = "-->" if output is None else f'-- "{_escaped(output)}" -->'
        lines.append(f"    {ids[start]} {arrow} {ids[end]}")
    return "\n".join(lines) + "\n"


def _dot(job: Job) -> str:
    lines = ["digraph job {", "    rankdir=LR;", "    node [shape=box];"]
    for name, node in job.nodes.items():
        shape = {"source": " shape=oval", "sink": " shape=oval", "route": " shape=diamond"}.get(node.kind, "")
        lines.append(f"    {_quoted(name)} [label={_quoted(*_label(node))}{shape}];")
    for start, output, end in _edges(job):
        label = "" if output is None else f" [label={_quoted(output)}]"
        lines.append(f"    {_quoted(start)} -> {_quoted(end)}{label};")
    return "\n".join([*lines, "}"]) + "\n"


def _edges(job: Job) -> list[tuple[str, str | None, str]]:
    return [(ref.node, ref.output, node.key) for node in job.nodes.values() for ref in node.inputs]


def _label(node: JobNode) -> list[str]:
    """Return the lines of a node's text: its name, and what it does."""
    lines = [f"{node.kind} {node.name}"]
    for key in _DETAILS.get(node.kind, ()):
        if key in node.values:
            value = node.values[key]
            said = ", ".join(map(str, value)) if isinstance(value, list) else getattr(value, "target", value)
            lines.append(f"{key}: {said}")
    return lines


def _quoted(*lines: str) -> str:
    return '"' + "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in lines) + '"'


def _escaped(text: str) -> str:
    return text.replace('"', "#quot;")
