"""Imports run one way. Reads the source; imports nothing of it.

A module may import from its own layer and from those above it in `LAYERS`, never from one below. A new file
that stands in no layer fails here: put its name into the lowest line of `LAYERS` that it needs.
"""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A package stands for all its modules.
LAYERS = (
    ("orchestrator.place",),
    ("orchestrator.errors", "orchestrator.pool.peer_names", "orchestrator.local.suspension"),
    ("orchestrator.machine.memory", "orchestrator.machine.terminal"),
    ("orchestrator.settings", "orchestrator.clock", "orchestrator.pool.size.sizing", "orchestrator.local.timers"),
    # The pure core: events in, actions out; tested without a process.
    (
        "orchestrator.engine.core.ledger",
        "orchestrator.engine.core.credits",
        "orchestrator.engine.core.crew",
        "orchestrator.engine.core.blame",
        "orchestrator.engine.core.reorder",
        "orchestrator.engine.core.retry",
        "orchestrator.engine.core.chunking",
        "orchestrator.engine.core.waiting_line",
        "orchestrator.engine.core.window",
        "orchestrator.engine.core.memory_policy",
        "orchestrator.pool.size.autosize",
    ),
    ("orchestrator.sinks",),
    ("orchestrator.checkpoint.trust", "orchestrator.checkpoint.plain_data", "orchestrator.checkpoint.reach"),
    ("orchestrator.checkpoint.fingerprint", "orchestrator.checkpoint.journal", "orchestrator.engine.recovery.dead_letters"),
    ("orchestrator.engine.recovery.dead_letter_sinks",),
    ("orchestrator.sources",),
    ("orchestrator.engine.protocol.events", "orchestrator.local.transport.main_definitions"),
    ("orchestrator.local.transport.worker_setup",),
    (
        "orchestrator.pool.sync.barrier",
        "orchestrator.inside",
        "orchestrator.pool.sync.resources",
        "orchestrator.local.transport.worker_process",
        "orchestrator.local.transport.fork_server",
        "orchestrator.local.transport.lane",
        "orchestrator.pool.sync.share",
    ),
    ("orchestrator.engine.recovery.item_errors", "orchestrator.pool.workflow", "orchestrator.local.status"),
    (
        "orchestrator.local.transport.calls",
        "orchestrator.local.reentrancy",
        "orchestrator.local.process_tree",
        "orchestrator.local.watchdog",
    ),
    ("orchestrator.engine.protocol.functions", "orchestrator.local.worker_messages", "orchestrator.local.transport.wakeup"),
    ("orchestrator.local.deadlines", "orchestrator.local.memory_watch"),
    ("orchestrator.local.supervisor",),
    ("orchestrator.engine.recovery.assembly", "orchestrator.engine.core.counts", "orchestrator.local.coordinator", "orchestrator.engine.recovery.recovery"),
    ("orchestrator.machine.cpu",),
    ("orchestrator.pool.size.resizing",),
    ("orchestrator.engine.recovery.delivery",),
    ("orchestrator.engine.stage",),
    ("orchestrator.progress", "orchestrator.pool.pool_future", "orchestrator.pool.submitted", "orchestrator.engine.superstep"),
    ("orchestrator.pool.futures",),
    ("orchestrator.graph",),
    ("orchestrator.pool.map_results",),
    ("orchestrator.engine.together", "orchestrator.pool.stats", "orchestrator.pool.close_report"),
    ("orchestrator.pool.pool",),
    ("orchestrator.streams",),
    ("orchestrator.jobfile",),
    ("orchestrator",),  # what `import orchestrator` gives
    ("orchestrator.cli", "orchestrator.__main__"),
)
PURE = LAYERS[4]
PURE_MAY_IMPORT = ("orchestrator.errors", *PURE)
WORLD = {  # what ties code to a process, a pipe or a clock
    *("asyncio", "concurrent", "fcntl", "mmap", "multiprocessing", "os", "select", "selectors", "signal"),
    *("socket", "subprocess", "threading", "time", "_thread"),
}
EDGES = ("orchestrator.sources", "orchestrator.sinks")
EDGES_MAY_IMPORT = ("orchestrator.errors", "orchestrator.settings", "orchestrator.checkpoint.fingerprint", "workers")
WORKERS_MAY_LOAD_LATE = {"cloudpickle", "threadpoolctl", "numpy"}  # inside a function, where a user's work needs them


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


def within(name, packages):
    return any(
        name == package or (name.startswith(package + ".") and package != "orchestrator") for package in packages
    )


def layer(name):
    for number, names in enumerate(LAYERS):
        if within(name, names):
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


def test_no_import_cycle():
    graph = {name: {found.module for found in imports(name)} & OURS.keys() - {name} for name in OURS}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " <- ".join(error.args[1]))
