"""The places of a resource pool: how many resources may exist at once, counted over all processes that have it.

A claim is an entry in shared memory: a place, or somebody's turn in the queue for one. A party is a process that has
claims. Everything here is read and written under the mutex of the shared file, except `closed` and the bell. What a
process that is killed had is freed by whoever sees it: `RESOURCES.md` beside this file argues why somebody always does,
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
"""How many may wait at once."""

FREE, WAITING, HELD, IDLE, DRAINING, DRAINED = range(6)  # states of a claim, a byte each
_FREE_BYTE = bytes([FREE])
_LIMIT, _CLOSED, _TORN, _HIGH = range(4)  # words of the header
_NEXT_AT = TOKEN_BYTES + 16
_NONCES_AT = 64
_TICKETS_AT = _NONCES_AT + 8 * PARTIES
_LIFE_AT = 1  # the bytes that carry signs of life; byte 0 is the mutex


def _claims(limit: int) -> int:
    return limit + WAITERS


class Places:
    """One process's view of the places."""

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
    def create(cls, limit: int) -> Places:
        """Make the memory for a new pool."""
        file = SharedFile.create("resources", _TICKETS_AT + 13 * _claims(limit))
        memoryview(file.bytes)[TOKEN_BYTES:_NEXT_AT].cast("I")[_LIMIT] = limit
        return cls(file)

    def _start(self) -> None:
        self._party: int | None = None
        self._bell: socket.socket | None = None
        self._sender: socket.socket | None = None
        self._granted: list[int] = []

    def __del__(self) -> None:
        if hasattr(self, "_bell"):
            self.shut()

    def forget(self) -> None:
        """Begin as a party without claims, in a forked child."""
        self.shut()
        self.file.forget()
        self._start()

    # -- the mutex -----------------------------------------------------------------------------------------------

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Hold the mutex; set right first what one who was killed with it left half done."""
        with self.file.mutex:
            if self._words[_TORN]:
                self._repair()
            self._words[_TORN] = 1
            yield
            self._words[_TORN] = 0  # not after an exception: then the next one repairs

    def _repair(self) -> None:
        self.bury()
        self._grant()
        for claim in self._in_use():
            self._ring(self._owners[claim])

    # -- what there is -------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the pool is closed, for all processes; may be asked without the mutex."""
        return bool(self._words[_CLOSED])

    def state(self, claim: int) -> int:
        """Return the state of a claim."""
        return self._states[claim]

    def taken(self) -> int:
        """Count the places that are taken."""
        return self._count(HELD) + self._count(IDLE)

    def waiting(self) -> int:
        """Count those who wait for a place."""
        return self._count(WAITING)

    def first(self) -> int | None:
        """Return the claim of the one whose turn is next."""
        return min(self._all(WAITING), key=self._tickets.__getitem__, default=None)

    def holders(self) -> Counter[int]:
        """Count the places that are taken by the pid of their process (0: one that this process can't see)."""
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

    # -- claims --------------------------------------------------------------------------------------------------

    def take(self) -> int | None:
        """Take a place if there is one and nobody waits for it; return the claim."""
        if self._full() and (not self.bury() or self._full()):
            return None
        return self._enter(HELD)

    def _full(self) -> bool:
        return self.waiting() > 0 or self.taken() >= self.limit

    def queue(self) -> int:
        """Wait for a place, behind all others; those who keep idle resources are told."""
        claim = self._enter(WAITING)
        self._ring(self._owners[claim])
        for owner in {self._owners[idle] for idle in self._all(IDLE)}:
            self._ring(owner)
        return claim

    def queue_for_end(self) -> int:
        """Wait until no place is taken any more; in a pool that is closed already, and all back, no time at all."""
        claim = self._enter(DRAINING)
        self._ring(self._owners[claim])
        self._grant()
        return claim

    def mark(self, claim: int, state: int) -> None:
        """Note whether the place of this process is in use or its resource idle."""
        self._states[claim] = state

    def free(self, claim: int) -> None:
        """Give a place back; whoever is next has it at once."""
        self._states[claim] = FREE
        self._grant()

    def leave(self, claim: int) -> None:
        """Stop waiting."""
        ticket = self._tickets[claim]
        self._states[claim] = FREE
        behind = [other for other in self._all(WAITING) if self._tickets[other] > ticket]
        if behind:  # it watched this process, or was watched by nobody as the first
            self._ring(self._owners[min(behind, key=self._tickets.__getitem__)])

    def hand_on(self, claim: int, first: int) -> None:
        """Give a place, together with its resource, to the first who waits, a thread of this process."""
        self._states[claim] = FREE
        self._states[first] = HELD
        self._tell_first()

    def close(self) -> None:
        """Close the pool for all; every process hears it."""
        self._words[_CLOSED] = 1
        self._grant()
        for party in self._parties():
            self._ring(party)

    def granted(self) -> list[int]:
        """Return the claims of this process whose wait has been ended from within it, since last asked."""
        granted, self._granted = self._granted, []
        return granted

    def _enter(self, state: int) -> int:
        if self._party is None:
            self._join()
        claim = self.file.bytes.find(_FREE_BYTE, self._states_at, self._states_at + len(self._states))
        claim -= self._states_at
        if claim < 0:
            msg = f"more than {WAITERS} wait for a resource"
            raise OverflowError(msg)
        self._owners[claim] = self._party or 0
        self._tickets[claim] = self._next[0]
        self._next[0] += 1
        self._words[_HIGH] = max(self._words[_HIGH], claim + 1)
        self._states[claim] = state  # last: from here on it counts
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
            self._tell_first()

    def _give(self, claim: int, state: int) -> None:
        self._states[claim] = state
        owner = self._owners[claim]
        if owner == self._party:
            self._granted.append(claim)
        else:
            self._ring(owner)

    def _tell_first(self) -> None:
        """Those who hold places are others now, and the first watches them."""
        first = self.first()
        if first is not None:
            self._ring(self._owners[first])

    # -- parties -------------------------------------------------------------------------------------------------

    def _join(self) -> None:
        if 0 not in self._nonces.tolist():
            self._bury([party for party in self._parties() if self._pid(party) is None])
        try:
            party = self._nonces.tolist().index(0)
        except ValueError:
            msg = f"more than {PARTIES} processes use this resource pool"
            raise OverflowError(msg) from None
        self.file.claim(_LIFE_AT + party)
        self._nonces[party] = int.from_bytes(os.urandom(8)) | 1
        self._party = party

    def _parties(self) -> list[int]:
        return [party for party, nonce in enumerate(self._nonces.tolist()) if nonce]

    def leave_all(self) -> None:
        """Give all claims of this process back and be a party no more."""
        if self._party is None:
            return
        self._bury([self._party])
        self.file.yield_up(_LIFE_AT + self._party)
        self._party = None

    def bury(self) -> bool:
        """Free what processes that have ended had; whether there was anything."""
        owners = {self._owners[claim] for claim in self._in_use()}
        dead = [owner for owner in owners if self._pid(owner) is None]
        self._bury(dead)
        return bool(dead)

    def _bury(self, dead: list[int]) -> None:
        for claim in self._in_use():
            if self._owners[claim] in dead:
                self._states[claim] = FREE
        for party in dead:
            self._nonces[party] = 0
        if dead:
            self._grant()
            for owner in {self._owners[claim] for claim in (*self._all(WAITING), *self._all(DRAINING))}:
                self._ring(owner)  # who stood behind the dead has somebody else before him now

    def watched(self) -> dict[int, int]:
        """Return the processes whose death this one has to notice, pid by party; those found dead are buried.

        The first who waits watches all that hold a place, as does who waits for the end; every other the one before.
        """
        while True:
            pids = {party: self._pid(party) for party in self._to_watch() if party != self._party}
            if None not in pids.values():
                return {party: pid for party, pid in pids.items() if pid is not None}
            self._bury([party for party, pid in pids.items() if pid is None])

    def are_still(self, watched: dict[int, int]) -> bool:
        """Whether these processes are alive; may be asked without the mutex."""
        return all(self._pid(party) == pid for party, pid in watched.items())

    def _to_watch(self) -> set[int]:
        holders = {self._owners[claim] for claim in (*self._all(HELD), *self._all(IDLE))}
        ends = [self._owners[claim] for claim in self._all(DRAINING)]
        queue = [self._owners[claim] for claim in sorted(self._all(WAITING), key=self._tickets.__getitem__)]
        found = holders if self._party in (*ends, *queue[:1]) else set()
        found.update(before for before, owner in pairwise(queue) if owner == self._party)
        return found

    # -- bells ---------------------------------------------------------------------------------------------------

    def bell(self) -> socket.socket:
        """Return the socket that becomes readable when this process has to look; opened by the first call."""
        if self._party is None:
            self._join()
        if self._bell is None:
            self._bell = _datagrams()
            self._bell.bind(self._address(self._party or 0))
        return self._bell

    def shut(self) -> None:
        """Close what rings and is rung."""
        for end in (self._bell, self._sender):
            if end is not None:
                end.close()
        self._bell = self._sender = None

    def wake(self) -> None:
        """Ring at one's own door; without the mutex."""
        bell = self._bell
        if bell is not None:
            with suppress(OSError):
                bell.sendto(b"!", bell.getsockname())

    def _ring(self, party: int) -> None:
        if party == self._party:
            self.wake()
            return
        sender = self._sender = self._sender or _datagrams()
        with suppress(OSError):  # full: it has been rung often enough; refused: nobody is behind that door, or not yet
            sender.sendto(b"!", self._address(party))

    def _address(self, party: int) -> str:
        """Return a name outside of any file system, which the kernel forgets with its socket."""
        return f"\0{self.file.token.hex()}.{party}.{self._nonces[party]:x}"


def _datagrams() -> socket.socket:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.setblocking(False)
    return end
