"""Which chunks of a lane are taken back, and that its worker skips no other."""

import pytest

from orchestrator.engine.core.credits import Credits
from orchestrator.engine.core.ledger import Chunk, Ledger
from orchestrator.local.unbegun import Unbegun
from workers.transport.watch import SLOT_BYTES, Watch


class _Lane:
    def __init__(self):
        self.key = 1
        self.slot = memoryview(bytearray(SLOT_BYTES)).cast("Q")
        self.taken_back = set()
        self.active = False


class _InFlight:
    """The ledger, and where a chunk is given back."""

    def __init__(self):
        self.ledger = Ledger()
        self.ledger.open_lane(1)

    def give_back(self, lane, ident):
        self.ledger.returned(ident, lane.key)

    def send(self, *, in_step=False):
        chunk = Chunk(0, 0, [None], 0)
        chunk.encoded, chunk.in_step = b".", in_step
        return self.ledger.sent(chunk, 1)


@pytest.mark.parametrize("in_step", [True, False], ids=["step", "chunk"])
def test_what_stays_between_two_that_are_taken_back_is_run(in_step):
    """The worker has not come to the first yet, and would skip everything up to the second."""
    held_by_lanes, lane = _InFlight(), _Lane()
    unbegun = Unbegun(held_by_lanes, Credits())
    worker = Watch(lane.slot)
    first = held_by_lanes.send()
    assert worker.takes(first)
    taken = held_by_lanes.send()
    unbegun.take_back(lane)
    worker.answered(first)
    held_by_lanes.ledger.done(first, 1)

    between = held_by_lanes.send(in_step=in_step)
    last = held_by_lanes.send()
    unbegun.take_back(lane)

    held = {chunk.ident for chunk in held_by_lanes.ledger.list_of(1)}
    run = {ident for ident in (taken, between, last) if worker.takes(ident)}
    assert run == held
    assert between in held or not in_step
