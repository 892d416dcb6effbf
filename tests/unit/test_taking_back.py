"""Which chunks of a lane are taken back, and that its worker skips no other."""

import pytest

from orchestrator.engine.core.ledger import Chunk, Ledger
from orchestrator.local.supervisor import Supervisor
from workers.transport.watch import SLOT_BYTES, Watch


class _Lane:
    def __init__(self):
        self.key = 1
        self.slot = memoryview(bytearray(SLOT_BYTES)).cast("Q")
        self.taken_back = set()


class _Supervisor:
    """What `take_back` knows of one: the ledger, and where it gives a chunk back."""

    def __init__(self):
        self._ledger = Ledger()
        self._ledger.open_lane(1)

    def _give_back(self, lane, ident):
        self._ledger.returned(ident, lane.key)

    def send(self, *, in_step=False):
        chunk = Chunk(0, 0, [None], 0)
        chunk.encoded, chunk.in_step = b".", in_step
        return self._ledger.sent(chunk, 1)


@pytest.mark.parametrize("in_step", [True, False], ids=["step", "chunk"])
def test_what_stays_between_two_that_are_taken_back_is_run(in_step):
    """The worker has not come to the first yet, and would skip everything up to the second."""
    supervisor, lane = _Supervisor(), _Lane()
    worker = Watch(lane.slot)
    first = supervisor.send()
    assert worker.takes(first)
    taken = supervisor.send()
    Supervisor.take_back(supervisor, lane)
    worker.answered(first)
    supervisor._ledger.done(first, 1)

    between = supervisor.send(in_step=in_step)
    last = supervisor.send()
    Supervisor.take_back(supervisor, lane)

    held = {chunk.ident for chunk in supervisor._ledger.list_of(1)}
    run = {ident for ident in (taken, between, last) if worker.takes(ident)}
    assert run == held
    assert between in held or not in_step
