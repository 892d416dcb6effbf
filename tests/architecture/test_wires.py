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
    "Calls", "Deadlines", "MemoryWatch", "Stage", "Dispatcher", "Recovery", "Runner", "Sender", "Receiver",
    "Unbegun", "SerialEngine", "Superstep", "Together",
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


def bare(name):
    """`stage` of `_stage`: an attribute that an argument is kept in is named like it, and not annotated again."""
    return name.lstrip("_")


HOLDERS = defaultdict(set)
for each in TREES.values():
    for holder, part in held(each):
        if holder is not None:
            HOLDERS[bare(holder)].add(part)
CLASSES = {node.name for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
CLASSES |= {"Any", "Callable"}
MOST_COLLABORATORS = 6


def outside(tree):
    """Every attribute `x.y` of which x holds a part and is not `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (name := bare(last_name(node.value) or "self")) in HOLDERS:
            yield name, node


def writes(tree):
    """Every assignment to an attribute of a part, from outside."""
    return [(name, node) for name, node in outside(tree) if not isinstance(node.ctx, ast.Load)]


def collaborators(definition):
    """The arguments of a class that are objects or functions of ours, by name, or fields where it is a dataclass."""
    made = next((each for each in definition.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"), None)
    if made is not None:
        arguments = made.args.posonlyargs + made.args.args + made.args.kwonlyargs
        pairs = [(each.arg, each.annotation) for each in arguments]
    elif any("dataclass" in ast.dump(each) for each in definition.decorator_list):
        pairs = [(each.target.id, each.annotation) for each in definition.body if isinstance(each, ast.AnnAssign)]
    else:
        pairs = []
    return [name for name, told in pairs if told is not None and not CLASSES.isdisjoint(names_in(told))]


def where(module, node):
    return f"{OURS[module].relative_to(ROOT)}:{node.lineno}"


@pytest.mark.parametrize("module", TREES)
def test_nothing_is_assigned_from_outside(module):
    for name, node in writes(TREES[module]):
        raise AssertionError(
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
    assert {"Loop"} <= HOLDERS["loop"]
    assert {"Stage"} <= HOLDERS["stage"]
    assert {"Supervisor"} <= HOLDERS["supervisor"]


@pytest.mark.parametrize("module", TREES)
def test_no_constructor_takes_seven_collaborators(module):
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ClassDef) and len(taken := collaborators(node)) > MOST_COLLABORATORS:
            pytest.fail(
                f"{where(module, node)} {node.name} takes {len(taken)} collaborators ({', '.join(taken)}): group those "
                "that belong together, or hand over a list of observers as cli/session/result_sink.py does"
            )


@pytest.mark.parametrize(
    "line",
    [
        "stage.chunk_items = 1",
        "self._supervisor.lanes[0].x, coordinator.window = 1, 2",
        "self._stage.chunks += 1",
        "del engine.lanes",
        "for coordinator.at in range(3): pass",
        "with opened() as self._loop.file: pass",
        "runner.closed: bool = True",
    ],
)
def test_an_assignment_from_outside_is_found(line):
    assert writes(ast.parse(line))


def test_collaborators_are_counted():
    fields = "\n".join(f"    {name}: Stage | None" for name in "abcdefg")
    taken = ", ".join(f"{name}: Callable[[], None]" for name in "abcdefg")
    for text in (f"@dataclass(slots=True)\nclass A:\n{fields}", f"class B:\n    def __init__(self, {taken}): pass"):
        assert collaborators(ast.parse(text).body[0]) == list("abcdefg")
