"""Imports run one way, folder by folder. Reads the source; imports nothing of it.

A module may import from its own line of `LAYERS` and from those above it, never from one below. A new folder that
stands in no line fails here: put it into the lowest line that it needs.
"""

import ast
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Each folder may import from those above it in the table, and from itself; a file at the top stands for itself.
LAYERS = (
    ("orchestrator.errors", "orchestrator.inside", "orchestrator.place"),
    ("orchestrator.option_values", "orchestrator.record_formats"),
    ("orchestrator.settings",),
    ("orchestrator.machine",),
    ("orchestrator.engine.core",),
    ("orchestrator.sinks.disk",),
    ("orchestrator.checkpoint",),
    ("orchestrator.sources", "orchestrator.sinks"),
    ("orchestrator.engine.protocol",),
    ("orchestrator.engine.recovery",),
    ("orchestrator.local.transport",),
    ("the engines",),
    ("orchestrator.cluster.node",),
    ("orchestrator.cluster",),
    ("orchestrator.engine", "orchestrator.progress"),
    ("orchestrator.graph.flow",),
    ("orchestrator.event_loops",),
    ("orchestrator.graph",),
    ("orchestrator.pool.size", "orchestrator.pool.sync"),
    ("orchestrator.pool",),
    ("orchestrator.streams.patterns",),
    ("orchestrator.streams.patterns.gathered", "orchestrator.streams.patterns.timed"),
    ("orchestrator.streams",),
    ("orchestrator.jobfile",),
    ("orchestrator.fronts.common",),
    ("orchestrator.fronts",),
    ("orchestrator", "orchestrator.aggregates", "orchestrator.pandas"),  # what `import orchestrator` gives
    ("orchestrator.cli.session", "orchestrator.cli.flags", "orchestrator.cli.logs"),
    ("orchestrator.cli.exec.arguments",),
    ("orchestrator.cli.exec.blocks",),
    ("orchestrator.cli.exec.options",),
    ("orchestrator.cli", "orchestrator.__main__"),
)
PURE = ("orchestrator.engine.core",)
PURE_MAY_IMPORT = ("orchestrator.errors", *PURE)
FACTORY = "orchestrator.pool.engines"
"""The one module that imports engines; everybody else knows them by their protocol."""
HOSTS = ("orchestrator.cluster.node", "orchestrator.local")
"""A node of a cluster is a process that hosts our own local engine."""
MOST_ENTRIES = 13
CROWDED = {"orchestrator"}  # the top, where each folder has its entry
WORLD = {  # what ties code to a process, a pipe or a clock
    *("asyncio", "concurrent", "fcntl", "mmap", "multiprocessing", "os", "select", "selectors", "signal"),
    *("socket", "subprocess", "threading", "time", "_thread"),
}
EDGES = ("orchestrator.sources", "orchestrator.sinks")
EDGES_MAY_IMPORT = ("orchestrator.errors", "orchestrator.option_values", "orchestrator.record_formats", "orchestrator.settings", "orchestrator.machine", "orchestrator.checkpoint", "workers")
WORKERS_MAY_LOAD_LATE = {"cloudpickle", "threadpoolctl", "numpy", "orjson", "pandas", "polars", "pyarrow"}  # inside a function, where a user's work needs them


class Import(NamedTuple):
    module: str  # "orchestrator.errors", "os.path", "numpy"
    line: int
    late: bool  # inside a function


def modules(package):
    """Dotted name -> file, for every module of a package."""
    found = {}
    for file in sorted((ROOT / package).rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


ORCHESTRATOR = modules("orchestrator")
WORKERS = modules("workers")
OURS = ORCHESTRATOR | WORKERS


def imports(name):
    """Every import of a module, those under TYPE_CHECKING and inside functions too."""
    tree = ast.parse(OURS[name].read_bytes())
    late = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, id(node) in late)
        elif isinstance(node, ast.ImportFrom):
            origin = absolute(name, node)
            for alias in node.names:
                module = f"{origin}.{alias.name}"
                yield Import(module if module in OURS else origin, node.lineno, id(node) in late)


def absolute(name, node):
    if not node.level:
        return node.module
    package = name.split(".") if OURS[name].name == "__init__.py" else name.split(".")[:-1]
    return ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])


@cache
def engines():
    """The folders that the factory loads, but for those that have a line of their own."""
    found = (each.module.split(".") for each in imports(FACTORY) if each.late and each.module.startswith("orchestrator."))
    return sorted({".".join(parts[:2]) for parts in found} - {name for names in LAYERS for name in names} - {"orchestrator"})


def within(name, packages):
    return any(
        name == package or (name.startswith(package + ".") and package != "orchestrator") for package in packages
    )


def layer(name):
    for number, names in enumerate(LAYERS):
        if within(name, engines() if names == ("the engines",) else names):
            return number
    return None


def where(name, found):
    return f"{OURS[name].relative_to(ROOT)}:{found.line} imports {found.module}"


@pytest.mark.parametrize("name", ORCHESTRATOR)
def test_every_module_has_a_layer_and_imports_only_upwards(name):
    own = layer(name)
    assert own is not None, (
        f"{OURS[name].relative_to(ROOT)} is in no layer: add {name!r} to LAYERS in "
        f"{Path(__file__).relative_to(ROOT)}, after all that it imports and before all that imports it"
    )
    for found in imports(name):
        if found.module in ORCHESTRATOR:
            other = layer(found.module)
            assert other is None or other <= own, f"{where(name, found)}, which is a layer below it"


@pytest.mark.parametrize("name", [name for name in ORCHESTRATOR if within(name, PURE)])
def test_the_core_is_pure(name):
    for found in imports(name):
        top = found.module.partition(".")[0]
        if top in {"orchestrator", "workers"}:
            assert within(found.module, PURE_MAY_IMPORT), f"{where(name, found)}; the core knows only errors"
        else:
            assert top in sys.stdlib_module_names, f"{where(name, found)}; the core is standard library only"
            assert top not in WORLD, f"{where(name, found)}; the core has no process, pipe or clock"


@pytest.mark.parametrize("name", [name for name in ORCHESTRATOR if within(name, EDGES)])
def test_sources_and_sinks_know_nothing_of_the_engine(name):
    own = name.split(".")[:2]
    for found in imports(name):
        if found.module in OURS:
            allowed = (*EDGES_MAY_IMPORT, ".".join(own))
            assert within(found.module, allowed), f"{where(name, found)}; allowed are {', '.join(allowed)}"


@pytest.mark.parametrize("name", WORKERS)
def test_workers_load_only_the_standard_library(name):
    for found in imports(name):
        top = found.module.partition(".")[0]
        if top == "workers" or top in sys.stdlib_module_names:
            continue
        assert top in WORKERS_MAY_LOAD_LATE, f"{where(name, found)}; workers use the standard library only"
        assert found.late, f"{where(name, found)} when it is loaded; import it in the function that needs it"


@pytest.mark.parametrize("name", [name for name in ORCHESTRATOR if name != FACTORY])
def test_engines_are_known_by_their_protocol(name):
    for found in imports(name):
        own = HOSTS if within(name, HOSTS[:1]) else (name,)
        others = [engine for engine in engines() if not within(name, (engine,)) and engine not in own]
        assert not within(found.module, others), f"{where(name, found)}; only {FACTORY} does; see engine/protocol/engine.py"


def test_there_are_engines():
    assert {"orchestrator.local", "orchestrator.serial"} <= set(engines())


def folder_of(name):
    """The folder that a module lies in; a file at the top, which anybody may need, stands for itself."""
    file = OURS[name]
    return name if (name.count(".") < 2 and file.name != "__init__.py") or name in {"orchestrator", "workers"} else str(file.parent)


def test_no_circle_of_folders():
    graph = {}
    for name in OURS:
        needs = {folder_of(found.module) for found in imports(name) if found.module in OURS}
        graph.setdefault(folder_of(name), set()).update(needs - {folder_of(name)})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("circle of folders: " + " <- ".join(error.args[1]))


@pytest.mark.parametrize("folder", sorted({file.parent for file in OURS.values()}), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_folder_is_known_by_its_docstring_and_not_crowded(folder):
    told = ast.get_docstring(ast.parse((folder / "__init__.py").read_bytes()))
    assert told, f"{folder}/__init__.py says in one line what is here"
    entries = [entry for entry in folder.iterdir() if entry.name != "__pycache__" and not entry.name.endswith(".egg-info")]
    if folder.relative_to(ROOT).as_posix() not in CROWDED:
        assert len(entries) <= MOST_ENTRIES, f"{folder} has {len(entries)} entries; make a room of some of them"


def test_no_import_cycle():
    graph = {name: {found.module for found in imports(name)} & OURS.keys() - {name} for name in OURS}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " <- ".join(error.args[1]))
