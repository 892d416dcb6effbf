"""A model of `workers/sync/barrier.py`, explored in all interleavings; each step is one read or write of shared memory.

Three parties wait a few times each; a fourth actor resizes once; the last party may die at any instant, the mutex in its
hand or not. A sleeper may time out only once somebody has died: whatever gets stuck before that is a lost wake-up.
The action, `reset` and `abort` are left out: they change the memory by the same `tell` under the same mutex.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

FREE_MUTEX = -1
IDLE, WAITING, RELEASED, REFUSED = range(4)
MORTAL, RESIZER = 2, 3
REMEMBERS_GENERATION = {"write_waiting", "count", "read_state", "futex_wait"}
REMEMBERS_VERDICT = {"tell", "ring", "wake", "told"}


@dataclass(frozen=True, slots=True, eq=False)
class Actor:
    """A party, or the resizer: where it is, and what it remembers. Those that are alike are one object: see `an_actor`."""

    at: str
    fresh: bool  # the generation that it read is the one that is current still
    waits: int
    chosen: tuple[int, ...]
    verdict: int


@cache
def an_actor(at: str, fresh: bool, waits: int, chosen: tuple[int, ...], verdict: int) -> Actor:
    """Return the one actor of this kind, so that worlds are told apart by looking at who is in them."""
    return Actor(at, fresh, waits, chosen, verdict)


class World(NamedTuple):
    """The shared memory, and the actors."""

    states: tuple[int, ...]
    parties: int
    broken: bool
    mutex: int
    actors: tuple[Actor, ...]
    phases: int
    mistake: str = ""
    releasing: bool = False

    def move(self, who: int, at: str, **changes: Any) -> World:
        """Let an actor go on to its next step."""
        states, parties, broken, mutex, actors, *rest = self
        moved = gone_on(actors[who], at, *changes.items())
        return World(states, parties, broken, mutex, (*actors[:who], moved, *actors[who + 1 :]), *rest)

    def put(self, slot: int, state: int) -> World:
        """Write the state of a slot."""
        states, *rest = self
        return World((*states[:slot], state, *states[slot + 1 :]), *rest)

    def lock(self, who: int) -> World:
        """Have the mutex held by an actor, or by nobody."""
        states, parties, broken, _, *rest = self
        return World(states, parties, broken, who, *rest)

    def waiting(self) -> tuple[int, ...]:
        """Return the slots that wait."""
        return tuple(slot for slot, state in enumerate(self.states) if state == WAITING)

    def someone_died(self) -> bool:
        """Whether a look would find a dead party."""
        return self.actors[MORTAL].at == "dead"


@cache
def gone_on(actor: Actor, at: str, *changes: tuple[str, Any]) -> Actor:
    """Return an actor at its next step; what that step won't look at is forgotten, so that worlds coincide."""
    known = {"fresh": actor.fresh, "waits": actor.waits, "chosen": actor.chosen, "verdict": actor.verdict}
    known |= dict(changes)
    fresh = known["fresh"] and at in REMEMBERS_GENERATION
    if at in REMEMBERS_VERDICT:
        return an_actor(at, fresh, known["waits"], known["chosen"], known["verdict"])
    return an_actor(at, fresh, known["waits"], (), RELEASED)


def _new(at: str) -> Actor:
    return an_actor(at, False, 0, (), RELEASED)


def start(parties: int, phases: int, mistake: str = "") -> World:
    """Return the world before anything has happened."""
    return World((IDLE,) * 3, parties, False, FREE_MUTEX, (*[_new("read_generation")] * 3, _new("resize_lock")), phases, mistake)


def steps(world: World, resized: int, deaths: int) -> Iterator[World]:
    """Yield every world that one step of one actor leads to."""
    for who, actor in enumerate(world.actors):
        if actor.at not in {"dead", "done", "raised"}:
            after = step(world, who, actor, resized)
            if after is not None:
                yield after
    if deaths and world.actors[MORTAL].at not in {"dead", "done", "raised"}:
        mutex = FREE_MUTEX if world.mutex == MORTAL and world.mistake != "kept_mutex" else world.mutex
        yield world.move(MORTAL, "dead").lock(mutex)


def step(world: World, who: int, actor: Actor, resized: int) -> World | None:  # noqa: PLR0911, PLR0912
    """Return the world after the actor's next step, None if it can't go on."""
    match actor.at:
        case "read_generation":  # Barrier.wait
            return world.move(who, "count" if world.mistake == "count_first" else "write_waiting", fresh=True)
        case "write_waiting":
            return world.put(who, WAITING).move(who, "read_state" if world.mistake == "count_first" else "count")
        case "count":
            if world.mistake == "count_first":
                leads = len(world.waiting()) + 1 >= world.parties
                return world.put(who, WAITING).move(who, "lock") if leads else world.move(who, "write_waiting")
            full = world.broken or len(world.waiting()) >= world.parties
            return world.move(who, "lock" if full else "read_state")
        case "resize_lock" | "lock" | "look_lock":
            if world.mutex != FREE_MUTEX:
                return None
            after = {"resize_lock": "resize", "lock": "choose", "look_lock": "look"}[actor.at]
            return world.lock(who).move(who, after)
        case "resize":  # Barrier.resize; the code gives the mutex back in between, which allows no more than this
            return world._replace(parties=resized, mutex=FREE_MUTEX).move(who, "lock")
        case "choose":  # Barrier._choose
            return choose(world, who)
        case "tell":  # BarrierMemory.tell, a slot at a time
            if actor.chosen:
                first, *rest = actor.chosen
                return world.put(first, actor.verdict).move(who, "tell", chosen=tuple(rest))
            return world.move(who, "told" if world.mistake == "ring_first" else "ring")
        case "ring":
            actors = tuple(gone_on(each, each.at, ("fresh", False)) for each in world.actors)
            return world._replace(actors=actors).move(who, "wake")
        case "wake":
            actors = tuple(gone_on(each, "reread") if each.at == "asleep" else each for each in world.actors)
            return world._replace(actors=actors).move(who, "tell" if world.mistake == "ring_first" else "told")
        case "told":
            if actor.verdict == REFUSED:
                return unlock(world, who)
            return world._replace(releasing=False).move(who, "choose")
        case "read_state":  # Barrier._verdict
            return read_state(world, who, actor)
        case "futex_wait":
            return world.move(who, "asleep" if actor.fresh else "reread")
        case "asleep":
            return world.move(who, "look_lock") if world.someone_died() else None
        case "reread":
            if world.mistake == "state_first":
                return read_state(world, who, actor, after="late_generation")
            return world.move(who, "read_state", fresh=True)
        case "late_generation":
            return world.move(who, "futex_wait", fresh=True)
        case "look":  # Barrier._look
            if world.states[who] == WAITING and world.someone_died():
                return refuse(world, who)
            return unlock(world, who)
    raise AssertionError(actor.at)


def choose(world: World, who: int) -> World:
    """Choose who makes up the phase, or give the mutex back."""
    waiting = world.waiting()
    if world.broken or world.releasing:
        return refuse(world, who)
    if len(waiting) < world.parties:
        return unlock(world, who)
    chosen = waiting if who == RESIZER else waiting[: world.parties]
    world = world._replace(releasing=world.mistake != "no_mark")
    return world.move(who, "ring" if world.mistake == "ring_first" else "tell", chosen=chosen, verdict=RELEASED)


def refuse(world: World, who: int) -> World:
    """Break the barrier."""
    after = "ring" if world.mistake == "ring_first" else "tell"
    return world._replace(broken=True, releasing=False).move(who, after, chosen=world.waiting(), verdict=REFUSED)


def unlock(world: World, who: int) -> World:
    """Give the mutex back; the resizer has done its work then."""
    return world.lock(FREE_MUTEX).move(who, "done" if who == RESIZER else "reread", chosen=())


def read_state(world: World, who: int, actor: Actor, after: str = "futex_wait") -> World:
    """Act on the verdict, if there is one."""
    state = world.states[who]
    if state == WAITING:
        return world.move(who, after)
    world = world.put(who, IDLE)
    if state == REFUSED:
        return world.move(who, "raised")
    waits = actor.waits + 1
    return world.move(who, "done" if waits == world.phases else "read_generation", waits=waits, fresh=False)


def fault(world: World, *, stuck: bool, always: int) -> str | None:
    """Return what is wrong with a world, None if nothing is."""
    waits = [actor.waits for actor in world.actors[:3]]
    if always == 3 and max(waits) - min(waits) > 1:
        return f"a party is two phases ahead: {waits}"
    if stuck:
        left = [actor.at for actor in world.actors if actor.at not in {"dead", "done", "raised"}]
        enough = len(world.waiting()) >= world.parties
        told = any(actor.at == "asleep" and world.states[who] != WAITING for who, actor in enumerate(world.actors[:3]))
        if left and (told or world.someone_died() or world.broken or enough or set(left) != {"asleep"}):
            return f"stuck for ever: {left}, {len(world.waiting())} of {world.parties} wait"
    return None


def explore(parties: int, resized: int, deaths: int, phases: int = 3, mistake: str = "") -> tuple[int, str | None]:
    """Visit every world that can be reached; return how many, and the first fault.

    A million tuples without a cycle among them: the garbage collector, which would go through them again and again,
    has a rest meanwhile.
    """
    gc.disable()
    try:
        return _explored(start(parties, phases, mistake), resized, deaths, always=min(parties, resized))
    finally:
        gc.enable()


def _explored(first: World, resized: int, deaths: int, *, always: int) -> tuple[int, str | None]:
    seen, todo = {first}, [first]
    while todo:
        world = todo.pop()
        after = list(steps(world, resized, deaths))
        died = world.someone_died()
        stuck = all(other.someone_died() != died for other in after)
        found = fault(world, stuck=stuck, always=always)
        if found:
            return len(seen), found
        for other in after:
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return len(seen), None
