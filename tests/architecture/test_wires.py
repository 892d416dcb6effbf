"""Parts of the engine are given what they need, and return what happened: nobody writes into them from outside.

Reads the source; imports nothing of it. Which names hold such a part is found out from the source as well: what is
annotated with its class, or assigned from its constructor, somewhere in the program.
"""

import ast
from collections import defaultdict

import pytest
from architecture.test_layers import OURS, ROOT

PARTS = {
    "Coordinator", "Engine", "Loop", "LaneIO", "InFlight", "Supervisor", "Watchdog", "WorkerMessages", "Crew", "Timers",
    "Calls", "Deadlines", "MemoryWatch", "Stage", "Dispatcher", "Recovery", "Runner",
}  # fmt: skip
TREES = {name: ast.parse(file.read_bytes()) for name, file in OURS.items() if name.startswith("orchestrator")}


def names_in(annotation):
    """The classes that an annotation mentions: those of `Stage | None`, `"Stage"` and `dict[str, Stage]` too."""
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            yield node.value


def last_name(node):
    """`stage` of `stage`, `self.stage` and `kind.stage`; None of anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def held(tree):
    """Each name that stands for a part somewhere in a module, and for which one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            yield from ((node.arg, name) for name in names_in(node.annotation) if name in PARTS)
        elif isinstance(node, ast.AnnAssign):
            yield from ((last_name(node.target), name) for name in names_in(node.annotation) if name in PARTS)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            made = last_name(node.value.func)
            yield from ((last_name(target), made) for target in node.targets if made in PARTS)
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:  # properties, and what opens a stage
            yield from ((node.name, name) for name in names_in(node.returns) if name in PARTS)


HOLDERS = defaultdict(set)
for each in TREES.values():
    for holder, part in held(each):
        HOLDERS[holder].add(part)
HOLDERS.pop(None, None)


def outside(tree):
    """Every attribute `x.y` of which x holds a part and is not `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (name := last_name(node.value)) in HOLDERS and name != "self":
            yield name, node


def where(module, node):
    return f"{OURS[module].relative_to(ROOT)}:{node.lineno}"


@pytest.mark.parametrize("module", TREES)
def test_nothing_is_assigned_from_outside(module):
    for name, node in outside(TREES[module]):
        assert isinstance(node.ctx, ast.Load), (
            f"{where(module, node)} writes {name}.{node.attr}; {' or '.join(sorted(HOLDERS[name]))} owns its state: "
            "give it a method that says what happened"
        )


@pytest.mark.parametrize("module", TREES)
def test_nothing_private_is_read_from_outside(module):
    for name, node in outside(TREES[module]):
        private = node.attr.startswith("_") and not node.attr.startswith("__")
        assert not private, f"{where(module, node)} looks into {name}.{node.attr}; ask for it by a public name"


def test_the_names_that_hold_parts_are_found():
    assert {"Engine"} <= HOLDERS["coordinator"]
    assert {"Loop"} <= HOLDERS["_loop"]
    assert {"Stage"} <= HOLDERS["stage"]
    assert {"Supervisor"} <= HOLDERS["_supervisor"]
