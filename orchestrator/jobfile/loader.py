"""Reads and checks a job file: gives all its mistakes at once, or a `Job` that can be built.

Functions are looked for beside the file; the paths of inputs and outputs are those of the current folder.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path as FilePath
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.jobfile.diagnostics import Diagnostics, JobFileError
from orchestrator.jobfile.model import Job, JobNode, Ref
from orchestrator.jobfile.tables import schema
from orchestrator.jobfile.toml_lines import Path, lines_of
from orchestrator.jobfile.validation import check_combinations
from orchestrator.jobfile.values import Values
from orchestrator.jobfile.workflows import read_workflows
from orchestrator.sources.inputs import expand


def read_job(file: str, overrides: Sequence[str] = ()) -> Job:
    """Return the job that a file describes.

    Args:
        file: its path.
        overrides: "key.path=value", the value as in TOML, or a text as it is.

    Raises:
        JobFileError: what is wrong with it, a line a mistake.
    """
    try:
        text = FilePath(file).read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except OSError as wrong:
        raise JobFileError(f"can't read {file}: {wrong.strerror}") from None
    except UnicodeDecodeError as wrong:
        raise JobFileError(f"{file} is not a text file: byte {wrong.start} is not UTF-8") from None
    except tomllib.TOMLDecodeError as wrong:
        raise JobFileError(_syntax(file, str(wrong))) from None
    overridden = [_override(document, each) for each in overrides]
    return _Reader(file, document, Diagnostics(file, lines_of(text), overridden)).read()


def _syntax(file: str, said: str) -> str:
    found = re.search(r" \(at line (\d+), column \d+\)| \(at end of document\)", said)
    line = f":{found[1]}" if found and found[1] else ""
    return f"{file}{line}: invalid TOML: {said}"


def _override(document: dict[str, Any], text: str) -> Path:
    """Apply one --set to the document, and return its path."""
    name, equals, value = text.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise JobFileError(f"invalid --set {text!r}: write it as --set pool.workers=4")
    try:
        meant = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        meant = value
    table: Any = document
    for key in keys[:-1]:
        table = table.setdefault(key, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise JobFileError(f"--set {text!r}: {'.'.join(keys[:-1])} is not a table")
    table[keys[-1]] = meant
    return tuple(keys)


class _Reader:
    """Reads a document once.

    Owns the nodes found so far.
    """

    def __init__(self, file: str, document: dict[str, Any], diagnostics: Diagnostics) -> None:
        self._file = file
        self._document = document
        self._diagnostics = diagnostics
        self._values = Values(diagnostics, str(FilePath(file).resolve().parent))
        self._nodes: dict[str, JobNode] = {}

    def read(self) -> Job:
        document, diagnostics = self._document, self._diagnostics
        for name in document:
            if name not in schema.TOP:
                diagnostics.unknown((name,), name, "a job file has no", schema.TOP)
        pool = self._values.table(document.get("pool", {}), schema.POOL, ("pool",), "[pool]")
        workflows = read_workflows(document.get("workflow", {}), self._values, diagnostics)
        for kind in schema.NODES:
            self._tables(kind)
        self._find_late_streams()
        for node in self._nodes.values():
            check_combinations(node, workflows, diagnostics)
        self._check_reading()
        self._check_writing()
        nodes = self._in_order()
        self._check_consumed()
        diagnostics.raise_if_any()
        return Job(self._file, pool, nodes, {name: flow for name, flow in workflows.items() if flow is not None})

    def _tables(self, kind: str) -> None:
        tables = self._document.get(kind, {})
        if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
            self._diagnostics.add((kind,), f"[{kind}] needs a name: [{kind}.some_name]")
            return
        for name, table in tables.items():
            path = (kind, name)
            if "." in name:
                self._diagnostics.add(path, f"the name {name!r} has a dot, which separates a node from its output")
            key = f"sink.{name}" if kind == "sink" else name
            if key in self._nodes:
                other = self._nodes[key]
                self._diagnostics.add(path, f"the name {name!r} is taken by [{other.kind}.{name}], line {other.line}")
                continue
            values = self._values.table(table, schema.NODES[kind], path, f"[{kind}.{name}]")
            self._exactly_one(kind, table, path)
            self._nodes[key] = JobNode(kind, name, values, self._diagnostics.line(path))

    def _exactly_one(self, kind: str, table: dict[str, Any], path: Path) -> None:
        keys = schema.ONE_OF.get(kind, ())
        given = [key for key in keys if key in table]
        if keys and len(given) != 1:
            name, has = ".".join(map(str, path)), " and ".join(given) or "nothing to do"
            self._diagnostics.add(path, f"[{name}] has {has}; it needs exactly one of {', '.join(keys)}")

    def _find_late_streams(self) -> None:
        """Make `late` of a window name a stream if a table reads that.

        It is read as "window.name" or by the name alone.
        """
        for node in self._nodes.values():
            late = node.values.get("late")
            if not isinstance(late, str):
                continue
            ref = Ref(node.name, late.removeprefix(f"{node.name}."))
            names = {ref} if ref.output in self._nodes else {ref, Ref(str(ref.output), None)}
            readers = [each for each in self._nodes.values() if names.intersection(each.inputs)]
            for reader in readers:
                reader.read_instead(names, ref)
            if readers:
                node.values["late"] = ref

    # ---- outside the file -------------------------------------------------------------------------------------

    def _check_reading(self) -> None:
        for node in self._nodes.values():
            for number, path in enumerate(node.values.get("read", ())):
                try:
                    expand([path])
                except ConfigError as wrong:
                    self._diagnostics.add(("source", node.name, "read", number), str(wrong))

    def _check_writing(self) -> None:
        """Check that no path is written twice, or both read and written, and that its folder exists."""
        written: dict[FilePath, str] = {}
        letters: set[FilePath] = set()
        read = {
            FilePath(entry.path).resolve()
            for node in self._nodes.values()
            for path in node.values.get("read", ())
            for entry in _expanded(path)
        }
        for node in self._nodes.values():
            for key in ("write", "to", "late", "unmatched", "dead_letters"):
                value = node.values.get(key, ())
                for path in [value] if isinstance(value, str) else value if node.kind == "tee" else ():
                    place = (node.kind, node.name, key)
                    final = FilePath(path).resolve()
                    if path == "-":
                        continue
                    if final in written and not (key == "dead_letters" and final in letters):  # steps may share them
                        self._diagnostics.add(place, f"{path} is also written by [{written[final]}]")
                    if final in read:
                        self._diagnostics.add(place, f"{path} is one of the inputs")
                    if "{" not in str(final.parent) and not final.parent.is_dir():
                        self._diagnostics.add(place, f"can't write to {path}: there is no folder {final.parent}")
                    letters |= {final} if key == "dead_letters" else set()
                    written[final] = f"{node.kind}.{node.name}"

    # ---- the graph --------------------------------------------------------------------------------------------

    def _in_order(self) -> dict[str, JobNode]:
        """Return the nodes, each behind those that it reads.

        References that lead nowhere or round are reported.
        """
        graph: dict[str, list[str]] = {}
        for node in self._nodes.values():
            graph[node.key] = [ref.node for ref in node.inputs if self._check_reference(node, ref)]
        try:
            return {name: self._nodes[name] for name in TopologicalSorter(graph).static_order()}
        except CycleError as cycle:
            names = cycle.args[1][::-1]
            first = self._nodes[names[0]]
            self._diagnostics.add((first.kind, first.name), f"these tables read each other: {' -> '.join(names)}")
            return {}

    def _check_reference(self, node: JobNode, ref: Ref) -> bool:
        key = next(k for k in schema.INPUTS[node.kind] if _holds(node.values.get(k), ref))
        place = (node.kind, node.name, key)
        known = [str(Ref(other.name, output)) for other in self._nodes.values() for output in other.outputs]
        if ref.node not in self._nodes:
            if f"sink.{ref.node}" in self._nodes:
                self._diagnostics.add(place, f"{key!r}: [sink.{ref.node}] has no output")
                return False
            self._diagnostics.unknown(place, str(ref), f"{key!r}: there is no stream", known)
            return False
        other = self._nodes[ref.node]
        if not other.outputs:
            self._diagnostics.add(place, f"{key!r}: [{other.kind}.{other.name}] has no output")
        elif ref.output not in other.outputs:
            own = [str(Ref(other.name, output)) for output in other.outputs]
            self._diagnostics.unknown(place, str(ref), f"{key!r}: there is no stream", own)
        return True

    def _check_consumed(self) -> None:
        consumed = {ref for node in self._nodes.values() for ref in node.inputs}
        for node in self._nodes.values():
            for output in node.outputs:
                ref = Ref(node.name, output)
                if ref not in consumed:
                    self._diagnostics.add(
                        (node.kind, node.name),
                        f"nothing reads {str(ref)!r}; give it a sink, or [sink.nothing] with "
                        f"from = {str(ref)!r} and discard = true",
                    )
        if not self._nodes:
            self._diagnostics.add((), "nothing to do: there is no [source.…] and no [sink.…]")


def _holds(value: Any, ref: Ref) -> bool:
    return value == ref or (isinstance(value, list) and ref in value)


def _expanded(path: str) -> list[Any]:
    try:
        return expand([path])
    except ConfigError:
        return []
