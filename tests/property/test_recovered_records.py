"""Blocks of records through the recovery of a stage, with workers that are played: which die, where, is drawn by chance.

Whatever happens, every innocent record comes out, once, in its place, and every other is given up for what it did.
"""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.core.ledger import Chunk
from orchestrator.engine.core.retry import RetryPolicy
from orchestrator.engine.protocol.counts import StageCounts
from orchestrator.engine.protocol.events import Ended, Lost
from orchestrator.engine.recovery.assembly import FailedItem, InPart
from orchestrator.engine.recovery.recovery import Recovery
from orchestrator.errors import ItemTimeoutError, WorkerDiedError
from orchestrator.sources.block_splitting import Divider
from orchestrator.sources.files import FileSource
from orchestrator.sources.inputs import expand
from workers.errors.capture import capture
from workers.records.blocks import FailedRecord
from workers.records.formats.registry import find
from workers.records.reading.positions import Located, read
from workers.transport.watch import SlotReading

MAX_DEATHS = 2


class Player:
    """Plays a pool of one worker."""

    def __init__(self, path, block_bytes, *, kills, hangs, fails, retries, accident, timeout):
        self.kills, self.hangs, self.fails, self.retries, self.timeout = kills, hangs, fails, retries, timeout
        self.accident = accident  # the worker is killed at the so-manyth record, by somebody else
        self.recovery = Recovery(RetryPolicy(retries, 0.0, MAX_DEATHS), StageCounts(), self._whole, Divider(find("lines")))
        self.runs = Counter()
        self.done = {}
        self.blocks = list(FileSource(expand([str(path)]), find("lines"), block_bytes))
        self.idents = 0

    def _whole(self, assembly):
        assert assembly.chunk.seq not in self.done
        self.done[assembly.chunk.seq] = assembly.outcomes[0]

    def play(self):
        waiting = [Chunk(0, seq, [block], seq) for seq, block in enumerate(self.blocks)]
        while (chunk := self.recovery.again.next() or (waiting.pop(0) if waiting else None)) is not None:
            self.idents += 1
            chunk.ident = self.idents
            self.run(chunk)
        return [each for seq in range(len(self.blocks)) for each in flat(self.done[seq])]

    def run(self, chunk):
        (block,) = chunk.items
        raw = read(block, find("lines"))
        found = Located(block, raw, find("lines").split(raw, None, skip=True), find("lines"))
        pieces = [[]]
        for at, text in enumerate(found.records.values):
            number = int(text)
            self.runs[number] += 1
            self.accident -= 1
            watched = chunk.watched or self.timeout
            reading = SlotReading(chunk.ident, 0, 0, at) if watched else None
            if number in self.hangs:
                ended = Ended("timeout", chunk.ident, 0, 1.0, at)
                self.recovery.lost(Lost(chunk, 0, 1, -9, True, ended, 1, reading))
                return
            if number in self.kills or self.accident == 0:
                self.recovery.lost(Lost(chunk, 0, 1, -9, True, None, 1, reading))
                return
            if self.runs[number] <= self.fails.get(number, 0):
                what = capture(ValueError(number))
                pieces += [FailedRecord(at, found.place(at), text, what, text), []]
            else:
                pieces[-1].append(number)
        self.answer(chunk, [each for each in pieces if each != []])

    def answer(self, chunk, pieces):
        failed = any(isinstance(each, FailedRecord) for each in pieces)
        if not failed:
            outcome = pieces[0] if pieces else []
            if chunk.parent is None:
                self.done[chunk.seq] = outcome
            else:
                self.recovery.settle(chunk, outcome)
        elif chunk.parent is not None:
            self.recovery.item_failed(chunk, pieces)
        elif self.retries:
            self.recovery.retry_failed(chunk, [], [(0, pieces)])
        else:
            self.done[chunk.seq] = self.recovery.in_part(chunk, pieces)


def flat(outcome):
    pieces = outcome.pieces if isinstance(outcome, InPart) else [outcome]
    return [each for piece in pieces for each in ([piece] if isinstance(piece, FailedItem) else piece)]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("recovered") / "input"
    path.write_text("".join(f"{number}\n" for number in range(24)))
    return path


SOME = st.sets(st.integers(0, 23), max_size=4)


@settings(deadline=None, max_examples=150)
@given(
    block_bytes=st.integers(2, 70), kills=SOME, hangs=SOME, fails=st.dictionaries(st.integers(0, 23), st.integers(1, 3), max_size=8),
    retries=st.integers(0, 2), accident=st.integers(0, 60), timeout=st.booleans(), calm=st.booleans(),
)  # fmt: skip
def test_every_innocent_record_comes_out_once_and_no_other(
    file, block_bytes, kills, hangs, fails, retries, accident, timeout, calm
):
    hangs = hangs - kills if timeout else set()
    if calm:
        kills, hangs, accident = set(), set(), 0
    fails = {number: times for number, times in fails.items() if number not in kills | hangs}
    player = Player(
        file, block_bytes, kills=kills, hangs=hangs, fails=fails, retries=retries, accident=accident, timeout=timeout
    )
    found = player.play()
    seen = []
    for each in found:
        if not isinstance(each, FailedItem):
            assert each not in kills | hangs
            seen.append(each)
            continue
        error = each.what
        number = int(error.item)
        seen.append(number)
        assert error.place.line == number + 1
        if number in kills:
            assert isinstance(error, WorkerDiedError)
            assert error.deaths == MAX_DEATHS
        elif number in hangs:
            assert isinstance(error, ItemTimeoutError)
        else:
            assert fails[number] > retries
    assert seen == list(range(24))
    if not kills | hangs and not accident:  # no run was in vain
        failed = {int(each.what.item) for each in found if isinstance(each, FailedItem)}
        assert failed == {number for number, times in fails.items() if times > retries}
    for number in range(24):
        if number not in kills | hangs | fails.keys():
            # Its block's first run, one for each time that the block was cut, and one for the accident.
            assert player.runs[number] <= 2 + 2 * len(kills | hangs) + (retries + 1) * bool(fails)


def test_neighbours_run_again_together_and_what_stands_between_two_is_left_out(tmp_path):
    (tmp_path / "in").write_bytes(b"1\n2\n\xff\n3\n")
    (block,) = FileSource(expand([str(tmp_path / "in")]), find("lines"), 100)
    divider = Divider(find("lines"))
    found = Located(block, read(block, find("lines")), find("lines").split(read(block, find("lines")), None, skip=True), find("lines"))
    pieces = [FailedRecord(at, found.place(at), text, capture(KeyError()), text) for at, text in enumerate("123")]
    recovery = Recovery(RetryPolicy(1), StageCounts(), list, divider)
    recovery.retry_failed(Chunk(0, 0, [block], 0), [], [(0, pieces)])
    again = [recovery.again.next(), recovery.again.next()]
    assert [[find("lines").split(read(part.items[0], find("lines")), None, skip=False).values, part.attempt] for part in again] == [
        [["1", "2"], 2],
        [["3"], 2],
    ]
    assert recovery.again.next() is None
