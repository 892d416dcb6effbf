"""A barrier in shared memory that outlives the death of a party.

`BARRIER.md` beside this file argues why it is right.

A slot that waits belongs to whoever holds the mutex, in every other state to the process that claimed it. To arrive
takes no mutex; to release or break does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from multiprocessing import process, util
from typing import Any, NoReturn

from workers.sync.barrier_memory import (
    ACTING,
    BROKEN,
    CAPACITY,
    CULPRIT,
    EPOCH,
    FILLING,
    FREE,
    GENERATION,
    IDLE,
    LOOK_S,
    MODE,
    PARTIES,
    REFUSED,
    RELEASED,
    RELEASING,
    STATES_AT,
    WAITING,
    BarrierMemory,
    give_way,
)
from workers.sync.exit_hooks import watch_end
from workers.sync.shared_file import reach


class Barrier:
    """A point that all parties must reach before any continues.

    Parties are threads of any processes.

    It is `threading.Barrier`, and `resize` beside it. A process is a party from when it first waits, or was given the
    barrier as an argument of a `multiprocessing.Process` or by unpickling, until it ends in order. If it ends
    otherwise, all that wait get a `BrokenBarrierError` that names it, within 100 ms.

    Args:
        parties: How many have to arrive, at least 1.
        action: Called by the last to arrive, in its process, before the others leave; it is pickled with the barrier.
        timeout: Seconds that `wait` waits by default; None: forever.
    """

    broken_error: type[threading.BrokenBarrierError] = threading.BrokenBarrierError

    def __init__(
        self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
    ) -> None:
        _check(parties)
        self._settle(BarrierMemory.for_parties(parties), action, timeout)

    def _settle(self, memory: BarrierMemory, action: Callable[[], object] | None, timeout: float | None) -> None:
        self._memory, self._action, self._timeout = memory, action, timeout
        util.register_after_fork(self, Barrier._join_if_given)

    def _join_if_given(self) -> None:
        """Join as a party in a child that `multiprocessing` forked, if the barrier is among its arguments."""
        watch_end()
        me: Any = process.current_process()
        given = (*getattr(me, "_args", ()), *getattr(me, "_kwargs", {}).values())
        if any(value is self for value in given):
            self._join()

    def _join(self) -> None:
        memory = self._memory
        with memory.mutex:
            if not memory.mine:
                memory.idle.append(memory.claim_slot())

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._memory.address(), self._action, self._timeout)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for all parties.

        Returns a number from 0 to parties - 1, another for each.

        Args:
            timeout: Seconds; when they are over, the barrier is broken for all. None: as the barrier was made with.

        Raises:
            BrokenBarrierError: A party died or timed out, the action raised, or somebody called `abort` or `reset`.
        """
        timeout = self._timeout if timeout is None else timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        memory = self._memory
        slot = self._slot()
        try:
            generation = memory.words[GENERATION]
            memory.bytes[STATES_AT + slot] = WAITING
            memory.fence()
            if memory.words[MODE] == BROKEN or memory.waiting() >= memory.words[PARTIES]:
                self._lead()
            return self._verdict(slot, generation, deadline)
        finally:
            self._put_back(slot)

    def _slot(self) -> int:
        memory = self._memory
        try:
            return memory.idle.pop()
        except IndexError:
            with memory.mutex:
                return memory.claim_slot()

    def _put_back(self, slot: int) -> None:
        memory = self._memory
        if memory.state(slot) == WAITING:  # an exception of a signal handler, say: nobody may count on this party
            self.abort()
        memory.bytes[STATES_AT + slot] = IDLE
        memory.idle.append(slot)

    def _lead(self, *, shrunk: bool = False) -> None:
        """Release complete phases: choose the members first, then run the action."""
        memory = self._memory
        while True:
            with memory.mutex:
                chosen = self._choose(shrunk=shrunk)
                epoch = memory.words[EPOCH]
                if not chosen or self._action is None:
                    return
                memory.words[MODE] = ACTING
            try:
                self._action()
            except BaseException:
                with memory.mutex:
                    if memory.words[EPOCH] == epoch:
                        self._break()
                raise
            with memory.mutex:
                if memory.words[EPOCH] != epoch:  # reset or broken meanwhile: all have their verdict
                    return
                self._release(chosen)

    def _choose(self, *, shrunk: bool) -> list[int]:
        """Return the members of the phase, if it is complete, under the mutex.

        Without an action they are released.
        """
        memory = self._memory
        mode = memory.words[MODE]
        if mode == BROKEN:
            self._break()
        elif mode == RELEASING:  # whoever had the mutex died half way: who was left out must not be counted again
            dead = memory.dead()
            self._break(memory.pids[dead[0]] if dead else 0)
        while mode == FILLING:
            waiting, parties = memory.waiting(), memory.words[PARTIES]
            if waiting < parties:
                break
            chosen = memory.who_waits(waiting if shrunk else parties)
            if self._action is not None:
                return chosen
            self._release(chosen)
        return []

    def _release(self, chosen: list[int]) -> None:
        """Release the chosen, under the mutex.

        A death on the way leaves a mark that breaks the barrier.
        """
        memory = self._memory
        memory.words[MODE] = RELEASING
        memory.tell(chosen, RELEASED)
        memory.words[MODE] = FILLING

    def _verdict(self, slot: int, generation: int, deadline: float | None) -> int:
        memory, state_at = self._memory, STATES_AT + slot
        if memory.bytes[state_at] == WAITING:
            give_way()  # to a party that is about to arrive: where parties share cores, cheaper than sleep and wake-up
        while (state := memory.bytes[state_at]) == WAITING:
            span_s = LOOK_S if deadline is None else min(LOOK_S, deadline - time.monotonic())
            if span_s > 0:
                memory.sleep(generation, span_s)
            if memory.words[GENERATION] == generation:
                self._look(slot, deadline)
            generation = memory.words[GENERATION]
            memory.fence()  # the generation is read before the state, or a verdict in between would be slept through
        if state == REFUSED:
            self._refuse()
        return memory.indexes[slot]

    def _look(self, slot: int, deadline: float | None) -> None:
        """Break after a silence if a party died or the time is over."""
        memory = self._memory
        with memory.mutex:
            if memory.state(slot) != WAITING:
                return
            dead = memory.dead()
            if dead:
                self._break(memory.pids[dead[0]])
            elif memory.words[MODE] == BROKEN or (deadline is not None and time.monotonic() >= deadline):
                self._break()

    def _refuse(self) -> NoReturn:
        memory = self._memory
        pid = memory.words[CULPRIT]
        if memory.words[MODE] == BROKEN and pid:
            msg = (
                f"the barrier is broken: a party, process {pid}, died before it arrived; "
                "often the out-of-memory killer. reset() makes the barrier usable again, without that process."
            )
        else:
            msg = "the barrier is broken: aborted, reset, timed out, or its action raised. reset() makes it usable."
        raise self.broken_error(msg)

    def _break(self, culprit: int = 0) -> None:
        """Refuse all that wait, and all that come.

        Under the mutex.
        """
        memory = self._memory
        if memory.words[MODE] != BROKEN:
            memory.words[CULPRIT] = culprit
            memory.words[EPOCH] = (memory.words[EPOCH] + 1) & 0xFFFFFFFF
            memory.words[MODE] = BROKEN
        memory.fence()
        memory.tell(memory.who_waits(CAPACITY), REFUSED)

    def reset(self) -> None:
        """Reset the barrier.

        Those that wait get a `BrokenBarrierError`, and the dead are forgotten.
        """
        memory = self._memory
        with memory.mutex:
            self._break()
            for slot in memory.dead():
                memory.bytes[STATES_AT + slot] = FREE
            memory.words[CULPRIT] = 0
            memory.words[MODE] = FILLING
        self._lead()

    def abort(self, culprit: int = 0) -> None:
        """Break the barrier: all waits, now and until `reset`, raise `BrokenBarrierError`.

        Args:
            culprit: The pid of a process that is known to have died: the error names it.
        """
        with self._memory.mutex:
            self._break(culprit)

    def resize(self, parties: int) -> None:
        """Change how many have to arrive, from this phase on.

        If so many wait already, they continue at once, all of them; the action is then run by the caller.
        """
        _check(parties)
        with self._memory.mutex:
            self._memory.words[PARTIES] = parties
        self._lead(shrunk=True)

    @property
    def parties(self) -> int:
        """How many have to arrive."""
        return self._memory.words[PARTIES]

    @property
    def n_waiting(self) -> int:
        """How many wait now."""
        return self._memory.waiting()

    @property
    def broken(self) -> bool:
        """Whether all waits raise, until `reset`."""
        return self._memory.words[MODE] == BROKEN


def _check(parties: int) -> None:
    if not 1 <= parties <= CAPACITY:
        msg = f"parties must be from 1 to {CAPACITY}, not {parties}"
        raise ValueError(msg)


def _rebuild(cls: type[Barrier], address: Any, action: Callable[[], object] | None, timeout: float | None) -> Barrier:
    barrier = cls.__new__(cls)
    barrier._settle(reach(BarrierMemory, address), action, timeout)  # noqa: SLF001 - its own class
    barrier._join()  # noqa: SLF001
    return barrier
