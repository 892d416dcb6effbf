"""The sink of `run` and `exec`: what each observer sees, in which order, and what a checkpoint keeps of them."""

from types import SimpleNamespace

import pytest

from orchestrator.cli.session.console import Console
from orchestrator.cli.session.result_sink import Observer, ResultSink, ShownProgress


class Noted(Observer):
    """Notes in a shared list what it is asked to do."""

    def __init__(self, name, notes, *, saved=True):
        self.saved_as = name if saved else None
        self._name, self._notes = name, notes

    def _note(self, what, value=None):
        self._notes.append((self._name, what, value))

    def observe(self, result):
        self._note("observe", result)

    def keep_as(self, secret):
        self._note("keep", secret)

    def snapshot(self):
        self._note("snapshot")
        return f"state of {self._name}"

    def restore(self, state):
        self._note("restore", state)

    def finish(self):
        self._note("finish")

    def abort(self):
        self._note("abort")


@pytest.fixture
def notes():
    return []


@pytest.fixture
def sink(notes):
    observers = [Noted("output", notes), Noted("counts", notes, saved=False), Noted("logs", notes)]
    return ResultSink(lambda result: result if result % 2 else None, observers)


def test_each_result_goes_to_every_observer_before_the_next_one(sink, notes):
    sink.write([1, 2, 3])
    assert notes == [(name, "observe", result) for result in (1, 3) for name in ("output", "counts", "logs")]


def test_an_observer_that_raises_hides_the_result_from_those_behind_it(notes):
    class Full(Noted):
        def observe(self, result):
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        ResultSink(int, [Noted("a", notes), Full("b", notes), Noted("c", notes)]).write([1])
    assert notes == [("a", "observe", 1)]


def test_a_checkpoint_has_the_states_of_those_that_have_one(sink, notes):
    assert sink.snapshot() == {"output": "state of output", "logs": "state of logs"}
    assert [name for name, *_ in notes] == ["logs", "output"]  # the output last: it may be synced ahead until then


def test_an_observer_that_the_earlier_run_had_not_is_told_so(sink, notes):
    sink.restore({"output": "old", "letters": "of nobody any more"})
    assert notes == [("output", "restore", "old"), ("logs", "restore", None)]


@pytest.mark.parametrize(
    ("act", "what"), [(ResultSink.close, "finish"), (ResultSink.abort, "abort"), (lambda s: s.keep_as("x"), "keep")]
)
def test_every_observer_hears_of_the_end(sink, notes, act, what):
    act(sink)
    assert [(name, done) for name, done, _ in notes] == [(name, what) for name in ("output", "counts", "logs")]


def test_progress_continues_where_it_was():
    result = SimpleNamespace(worker=0, size=3)
    before, after = (ShownProgress(Console(None, data_on_stdout=False), lambda each: each.size) for _ in range(2))
    before.observe(result)
    after.restore(before.snapshot())
    after.observe(result)
    assert after.snapshot() == 6
