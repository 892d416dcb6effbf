"""The slots of a resource pool, counted in memory that all its processes share.

A claim is an entry in shared memory: a slot, or a turn in the queue for one. A party is a process that has claims.
Everything here is read and written under the mutex of the shared file, except `closed` and the wake-up sockets. The
claims of a process that was killed are freed by whichever process sees it: `RESOURCES.md` argues why one always does,
and why no wake-up is lost.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise

from workers.sync.shared_file import TOKEN_BYTES, SharedFile

PARTIES = 1024
WAITERS = 4096
"""The most waiting claims at once."""

FREE, WAITING, HELD, IDLE, DRAINING, DRAINED = range(6)  # states of a claim, a byte each
_FREE_BYTE = bytes([FREE])
_LIMIT, _CLOSED, _TORN, _HIGH = range(4)  # words of the header
_NEXT_AT = TOKEN_BYTES + 16
_NONCES_AT = 64
_TICKETS_AT = _NONCES_AT + 8 * PARTIES
_LIFE_AT = 1  # bytes that parties lock as a sign of life; byte 0 is the mutex


def _claims(limit: int) -> int:
    return limit + WAITERS


class SlotTable:
    """One process's view of the slots."""

    def __init__(self, file: SharedFile) -> None:
        self.file = file
        base = memoryview(file.bytes)
        self._words = base[TOKEN_BYTES:_NEXT_AT].cast("I")
        self._next = base[_NEXT_AT : _NEXT_AT + 8].cast("Q")
        self.limit = self._words[_LIMIT]
        count = _claims(self.limit)
        owners_at = _TICKETS_AT + 8 * count
        self._states_at = owners_at + 4 * count
        self._nonces = base[_NONCES_AT:_TICKETS_AT].cast("Q")
        self._tickets = base[_TICKETS_AT:owners_at].cast("Q")
        self._owners = base[owners_at : self._states_at].cast("I")
        self._states = base[self._states_at : self._states_at + count]
        self._start()

    @classmethod
    def create(cls, limit: int) -> SlotTable:
        """Allocate the memory of a new pool."""
        file = SharedFile.create("resources", _TICKETS_AT + 13 * _claims(limit))
        memoryview(file.bytes)[TOKEN_BYTES:_NEXT_AT].cast("I")[_LIMIT] = limit
        return cls(file)

    def _start(self) -> None:
        self._party: int | None = None
        self._wakeup: socket.socket | None = None
        self._sender: socket.socket | None = None
        self._granted: list[int] = []

    def __del__(self) -> None:
        if hasattr(self, "_wakeup"):
            self.shut()

    def forget(self) -> None:
        """Start over without claims, in a forked child."""
        self.shut()
        self.file.forget()
        self._start()

    # -- the mutex ----------------------------------------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the mutex, after repairing what a process left half done that was killed while it held it."""
        with self.file.mutex:
            if self._words[_TORN]:
                self._repair()
            self._words[_TORN] = 1
            yield
            self._words[_TORN] = 0  # not after an exception: the next holder repairs

    def _repair(self) -> None:
        self.reap()
        self._grant()
        for claim in self._in_use():
            self._wake(self._owners[claim])

    # -- queries ------------------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the pool is closed, for all processes.

        Needs no mutex.
        """
        return bool(self._words[_CLOSED])

    def state(self, claim: int) -> int:
        """Return the state of a claim."""
        return self._states[claim]

    def taken(self) -> int:
        """Count the slots that are taken."""
        return self._count(HELD) + self._count(IDLE)

    def waiting(self) -> int:
        """Count the claims that wait for a slot."""
        return self._count(WAITING)

    def first(self) -> int | None:
        """Return the waiting claim that is next, or None."""
        return min(self._all(WAITING), key=self._tickets.__getitem__, default=None)

    def holders(self) -> Counter[int]:
        """Count the taken slots by the pid of their process (0: a process of another pid namespace)."""
        return Counter(self._pid(self._owners[claim]) or 0 for claim in (*self._all(HELD), *self._all(IDLE)))

    def _end(self) -> int:
        return self._states_at + self._words[_HIGH]

    def _count(self, state: int) -> int:
        return self.file.bytes[self._states_at : self._end()].count(state)

    def _all(self, state: int) -> list[int]:
        states = self.file.bytes[self._states_at : self._end()]
        return [claim for claim, found in enumerate(states) if found == state] if state in states else []

    def _in_use(self) -> list[int]:
        states = self.file.bytes[self._states_at : self._end()]
        return [claim for claim, found in enumerate(states) if found != FREE]

    def _pid(self, party: int) -> int | None:
        return os.getpid() if party == self._party else self.file.holder(_LIFE_AT + party)

    # -- claims -------------------------------------------------------------------------------------------------------

    def take(self) -> int | None:
        """Take a slot if one is free and nobody waits.

        Returns the claim, or None.
        """
        if self._full() and (not self.reap() or self._full()):
            return None
        return self._enter(HELD)

    def _full(self) -> bool:
        return self.waiting() > 0 or self.taken() >= self.limit

    def queue(self) -> int:
        """Enter a claim at the end of the queue, and wake processes with idle resources."""
        claim = self._enter(WAITING)
        self._wake(self._owners[claim])
        for owner in {self._owners[idle] for idle in self._all(IDLE)}:
            self._wake(owner)
        return claim

    def queue_for_end(self) -> int:
        """Enter a claim that ends when the pool is closed and no slot is taken."""
        claim = self._enter(DRAINING)
        self._wake(self._owners[claim])
        self._grant()
        return claim

    def mark(self, claim: int, state: int) -> None:
        """Set the state of a slot of this process: HELD or IDLE."""
        self._states[claim] = state

    def free(self, claim: int) -> None:
        """Free a slot and grant it to the next waiter."""
        self._states[claim] = FREE
        self._grant()

    def leave(self, claim: int) -> None:
        """Stop waiting."""
        ticket = self._tickets[claim]
        self._states[claim] = FREE
        behind = [other for other in self._all(WAITING) if self._tickets[other] > ticket]
        if behind:  # the next one must watch another process now
            self._wake(self._owners[min(behind, key=self._tickets.__getitem__)])

    def hand_on(self, claim: int, first: int) -> None:
        """Pass a slot and its resource to the first waiter, a thread of this process."""
        self._states[claim] = FREE
        self._states[first] = HELD
        self._wake_first()

    def close(self) -> None:
        """Close the pool and wake every process."""
        self._words[_CLOSED] = 1
        self._grant()
        for party in self._parties():
            self._wake(party)

    def granted(self) -> list[int]:
        """Return the claims of this process that it has granted itself since the last call."""
        granted, self._granted = self._granted, []
        return granted

    def _enter(self, state: int) -> int:
        if self._party is None:
            self._join()
        claim = self.file.bytes.find(_FREE_BYTE, self._states_at, self._states_at + len(self._states))
        claim -= self._states_at
        if claim < 0:
            msg = f"more than {WAITERS:,} waits for a resource at once"
            raise OverflowError(msg)
        self._owners[claim] = self._party or 0
        self._tickets[claim] = self._next[0]
        self._next[0] += 1
        self._words[_HIGH] = max(self._words[_HIGH], claim + 1)
        self._states[claim] = state  # last: from here on the claim counts
        return claim

    def _grant(self) -> None:
        if self.closed:
            if not self.taken():
                for claim in self._all(DRAINING):
                    self._give(claim, DRAINED)
            return
        given = 0
        while (first := self.first()) is not None and self.taken() < self.limit:
            self._give(first, HELD)
            given += 1
        if given:
            self._wake_first()

    def _give(self, claim: int, state: int) -> None:
        self._states[claim] = state
        owner = self._owners[claim]
        if owner == self._party:
            self._granted.append(claim)
        else:
            self._wake(owner)

    def _wake_first(self) -> None:
        """Wake the first waiter, which watches the holders, as these have changed."""
        first = self.first()
        if first is not None:
            self._wake(self._owners[first])

    # -- parties ------------------------------------------------------------------------------------------------------

    def _join(self) -> None:
        if 0 not in self._nonces.tolist():
            self._reap([party for party in self._parties() if self._pid(party) is None])
        try:
            party = self._nonces.tolist().index(0)
        except ValueError:
            msg = f"more than {PARTIES:,} processes use this resource pool"
            raise OverflowError(msg) from None
        self.file.claim(_LIFE_AT + party)
        self._nonces[party] = int.from_bytes(os.urandom(8)) | 1
        self._party = party

    def _parties(self) -> list[int]:
        return [party for party, nonce in enumerate(self._nonces.tolist()) if nonce]

    def leave_all(self) -> None:
        """Free all claims of this process, and leave."""
        if self._party is None:
            return
        self._reap([self._party])
        self.file.give_up(_LIFE_AT + self._party)
        self._party = None

    def reap(self) -> bool:
        """Free the claims of processes that have ended, and return whether there were any."""
        owners = {self._owners[claim] for claim in self._in_use()}
        dead = [owner for owner in owners if self._pid(owner) is None]
        self._reap(dead)
        return bool(dead)

    def _reap(self, dead: list[int]) -> None:
        for claim in self._in_use():
            if self._owners[claim] in dead:
                self._states[claim] = FREE
        for party in dead:
            self._nonces[party] = 0
        if dead:
            self._grant()
            for owner in {self._owners[claim] for claim in (*self._all(WAITING), *self._all(DRAINING))}:
                self._wake(owner)  # whoever queued behind the dead watches another process now

    def watched(self) -> dict[int, int]:
        """Return the processes that this one must watch, pid by party.

        Frees the claims of those found dead.

        The first waiter watches all holders, as does a wait for the end. Every other waiter watches the one before it.
        """
        while True:
            pids = {party: self._pid(party) for party in self._to_watch() if party != self._party}
            if None not in pids.values():
                return {party: pid for party, pid in pids.items() if pid is not None}
            self._reap([party for party, pid in pids.items() if pid is None])

    def still_alive(self, watched: dict[int, int]) -> bool:
        """Whether these processes are alive.

        Needs no mutex.
        """
        return all(self._pid(party) == pid for party, pid in watched.items())

    def _to_watch(self) -> set[int]:
        holders = {self._owners[claim] for claim in (*self._all(HELD), *self._all(IDLE))}
        ends = [self._owners[claim] for claim in self._all(DRAINING)]
        queue = [self._owners[claim] for claim in sorted(self._all(WAITING), key=self._tickets.__getitem__)]
        found = holders if self._party in (*ends, *queue[:1]) else set()
        found.update(before for before, owner in pairwise(queue) if owner == self._party)
        return found

    # -- wake-ups -----------------------------------------------------------------------------------------------------

    def wakeup(self) -> socket.socket:
        """Return the socket that becomes readable when another process has changed something."""
        if self._party is None:
            self._join()
        if self._wakeup is None:
            self._wakeup = _datagrams()
            self._wakeup.bind(self._address(self._party or 0))
        return self._wakeup

    def shut(self) -> None:
        """Close the sockets."""
        for end in (self._wakeup, self._sender):
            if end is not None:
                end.close()
        self._wakeup = self._sender = None

    def wake(self) -> None:
        """Wake this process's own wake-up thread.

        Needs no mutex.
        """
        wakeup = self._wakeup
        if wakeup is not None:
            with suppress(OSError):
                wakeup.sendto(b"!", wakeup.getsockname())

    def _wake(self, party: int) -> None:
        if party == self._party:
            self.wake()
            return
        sender = self._sender = self._sender or _datagrams()
        with suppress(OSError):  # full: it is awake already; refused: it has no wake-up thread (yet)
            sender.sendto(b"!", self._address(party))

    def _address(self, party: int) -> str:
        """Return an abstract socket name, which disappears with its socket."""
        return f"\0{self.file.token.hex()}.{party}.{self._nonces[party]:x}"


def _datagrams() -> socket.socket:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.setblocking(False)
    return end
