"""Checkpoints of a run, which write the state of all nodes to a journal between two turns.

    sources' cursors · items not settled · operators' states · sinks' lengths, synced  ->  one record

On resume the sinks are cut back to the lengths in the record, the sources are read past what was settled, and what was
in flight runs again: every result is written exactly once. The idea is that of the snapshots of dataflow systems
(Carbone et al., "Lightweight Asynchronous Snapshots for Distributed Dataflows", 2015), which in one thread need no
markers.

Owner: the engine's thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from orchestrator.checkpoint.journal import Journal
from orchestrator.errors import ConfigError, ResumeMismatchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.graph.flow.node import Node

MayChange = Callable[[str, "Mapping[str, str]", "Mapping[str, str]"], bool]
"""Says of a label of two fingerprints, the one before and the one now, whether it may differ."""
EVERY_S = 2.0
_SHARE = 50
"""A checkpoint that took a second is followed by 50 s without one: two percent of the run at most."""


def never(_label: str, _old: Mapping[str, str], _new: Mapping[str, str]) -> bool:
    """Tell that nothing may differ."""
    return False


def is_function(label: str) -> bool:
    """Whether what stands under this label of a fingerprint is a function."""
    return label.startswith("the function")


class Checkpoints:
    """The checkpoints of one run in one folder."""

    def __init__(
        self,
        folder: str,
        fingerprint: Mapping[str, str],
        every_s: float = EVERY_S,
        plan: Any = None,
        *,
        libraries: Mapping[str, str] | None = None,
        may_change: MayChange = never,
    ) -> None:
        """Lock the folder.

        If it holds a run that did not end, prepare to resume it.

        Args:
            folder: made if it is not there.
            fingerprint: what shapes the output, by what a person would call it.
            every_s: seconds from one checkpoint to the next, at least.
            plan: what a run that continues with this one has to do as it did.
            libraries: the versions of what the functions use; if they were others then, `note` says so.
            may_change: says of a label whether the run continues although what stands under it has changed.

        Raises:
            ConfigError: the folder can't be used.
            ResumeMismatchError: the run that it holds was another one.
        """
        self._journal = Journal(folder)
        self._every_s = every_s
        self._changed = False
        self.note: str | None = None
        """Warnings about the resumed run: libraries whose versions have changed."""
        self._due = perf_counter() + every_s
        self.resumes = self._journal.head is not None and not self._journal.complete
        """Whether the folder holds a run that is resumed."""
        self.has_state = self.resumes and self._journal.state is not None
        """Whether that run had come to a checkpoint; else it begins anew."""
        try:
            head = {"fingerprint": dict(fingerprint), "libraries": dict(libraries or {}), "plan": plan}
            if self.resumes:
                self._go_on(head, may_change)
            else:
                self._journal.begin({**head, "secret": os.urandom(16).hex()})
        except BaseException:
            self._journal.close()
            raise
        self.plan: Any = self._journal.head["plan"]
        """That of the run that is resumed, or else of this one."""
        self.saved = 0
        """Checkpoints that this run has written."""
        self.seconds = 0.0
        """The seconds that they took."""

    def _go_on(self, head: dict[str, Any], may_change: MayChange) -> None:
        """Compare this run with the one in the folder, and record permitted changes."""
        before = self._journal.head
        refuse_another(before["fingerprint"], head["fingerprint"], self._journal.folder, may_change)
        if before["libraries"] != head["libraries"]:
            names = dict.fromkeys((*before["libraries"], *head["libraries"]))
            told = [(name, before["libraries"].get(name), head["libraries"].get(name)) for name in names]
            changed = ", ".join(f"{name} was {old}, is {new}" for name, old, new in told if old and new and old != new)
            self.note = f"the resumed run began with other versions: {changed}" if changed else None
        self._changed = before["fingerprint"] != head["fingerprint"]
        if self._changed:
            self._journal.change_head({**before, "fingerprint": head["fingerprint"], "libraries": head["libraries"]})

    def begin(self, nodes: list[Node]) -> None:
        """Prepare every node for checkpoints, and restore the journal's state.

        Called before the first turn.

        Raises:
            ConfigError: a source can't be read again, a sink can't be resumed, or the state is pickled and others
                may have written it.
        """
        try:
            for number, node in enumerate(nodes):
                node.keep_written(f"{self._journal.folder}/node-{number}", self._journal.head["secret"])
        except ConfigError:
            if not self.resumes:
                self._journal.discard()
            raise
        self._nodes = nodes
        if self._journal.state is None:
            if any(sink.appends for node in nodes for sink in node.own_sinks()):
                self.save()  # how much was there before this run
        else:
            for node, state in zip(nodes, self._journal.load_state(), strict=True):
                resume(node, state)
            if self._changed:
                self.save()  # an output that this run has and the one before had not is known from here on

    def poll(self) -> None:
        """Write a checkpoint if one is due."""
        if perf_counter() >= self._due:
            self.save()

    def save(self) -> None:
        """Sync the sinks and write the state.

        Raises:
            OrchestratorError: the disk is full, or a state can't be pickled; the checkpoint before this one is good.
        """
        started = perf_counter()
        self._journal.save([checkpoint_of(node) for node in self._nodes])
        ended = perf_counter()
        self.saved += 1
        self.seconds += ended - started
        self._due = ended + max(self._every_s, _SHARE * (ended - started))

    def finish(self) -> None:
        """Note that every output is whole and has its final name."""
        self._journal.finish()

    def close(self) -> None:
        """Unlock the folder, keeping its content."""
        self._journal.close()


def checkpoint_of(node: Node) -> dict[str, Any]:
    """Return all that a node needs to resume from here in another process.

    If its branch was dropped, that is what its sinks have written, which the last of the processes removes.
    """
    if node.closed:
        return {"dropped": node.sink_keys()}
    outlets = [outlet.snapshot() for outlet in node.outlets]
    own = node.snapshot()  # first: a node of many sinks syncs them together
    sinks = [sink.snapshot() for sink in node.own_sinks()]
    return {"own": own, "ended": list(node.ended), "outlets": outlets, "sinks": sinks}


def resume(node: Node, state: dict[str, Any]) -> None:
    """Have a node resume from what `checkpoint_of` returned, before the first turn."""
    if "dropped" in state:
        node.make_sinks(state["dropped"])
        return
    node.ended = list(state["ended"])
    for outlet, kept in zip(node.outlets, state["outlets"], strict=True):
        outlet.restore(kept)
    node.restore(state["own"])
    for sink, kept in zip(node.own_sinks(), state["sinks"], strict=True):
        sink.restore(kept)


def refuse_another(
    old: Mapping[str, str], new: Mapping[str, str], folder: str, may_change: MayChange = never
) -> None:
    """Compare the fingerprint of the run in a folder with another's.

    Args:
        old: of the run in the folder.
        new: of the other.
        folder: its name.
        may_change: says what may differ.

    Raises:
        ResumeMismatchError: they differ; it says in what.
    """
    differences = [
        f"{label}: was {old.get(label, 'not there')}, is {new.get(label, 'not there')}"
        for label in dict.fromkeys((*old, *new))
        if old.get(label) != new.get(label) and not may_change(label, old, new)
    ]
    if differences:
        raise ResumeMismatchError(
            f"cannot resume: this run differs from the one saved in {folder}:\n  "
            + "\n  ".join(differences)
            + f"\nUndo the change, or remove {folder} to start over{_hint(old, new)}"
        )


def _hint(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Say how to resume a function that was mended, if that is all that differs."""
    differing = [label for label in dict.fromkeys((*old, *new)) if old.get(label) != new.get(label)]
    if not all(map(is_function, differing)):
        return ""
    return "; on the command line, --resume=force continues with the new function from where the run stopped"
