"""What came back as data is an exception again, and the user's errors say what failed."""

import pickle
import sys
import traceback
from dataclasses import dataclass

import pytest

from orchestrator.engine.protocol.events import Lost
from orchestrator.engine.recovery.item_errors import Failure, death_error, item_error, rebuild, unsendable_error
from orchestrator.errors import ItemError, RemoteError, WorkerDiedError
from workers.errors.capture import ExceptionRecord, capture


def record(**more):
    told = {
        "type_name": "Odd",
        "text": "no good",
        "traceback": "Traceback …\nOdd: no good\n",
        "notes": (),
        "pickled": None,
        "cause": None,
    }
    return ExceptionRecord(**{**told, **more})


def raised(error, cause=None):
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_an_exception_is_itself_again_with_the_workers_traceback():
    error = rebuild(capture(raised(ValueError("bad", 3))))
    assert (type(error), error.args) == (ValueError, ("bad", 3))
    (note,) = error.__notes__
    assert note.startswith("in the worker:\nTraceback")
    assert not note.endswith("\n")


def test_its_own_notes_come_first_and_once():
    error = ValueError("bad")
    error.add_note("row 3")
    notes = rebuild(capture(raised(error))).__notes__
    assert notes[0] == "row 3"
    assert len(notes) == 2


def test_causes_are_chained_again():
    error = rebuild(capture(raised(ValueError("outer"), raised(KeyError("inner"), OSError(2, "innermost")))))
    assert type(error.__cause__) is KeyError
    assert type(error.__cause__.__cause__) is FileNotFoundError
    assert error.__cause__.__cause__.__cause__ is None


def test_what_can_not_be_rebuilt_has_a_stand_in_that_tells_all():
    error = rebuild(record(notes=("row 3",)))
    assert type(error) is RemoteError
    assert (str(error), error.type_name) == ("Odd: no good", "Odd")
    assert error.__notes__ == ["row 3", "in the worker:\nTraceback …\nOdd: no good"]


def test_a_stand_in_without_a_text_is_named_by_the_class():
    assert str(rebuild(record(text=""))) == "Odd"


class Leaves:
    def __reduce__(self):
        return sys.exit, (9,)


class Interrupts:
    def __reduce__(self):
        return raised_here, ()


def raised_here():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"rubbish",
        pickle.dumps("no exception"),
        pickle.dumps(ValueError),
        pickle.dumps(Interrupts()),
        pickle.dumps(Leaves()),
        b"cno_such_module\nNoSuch\n.",
    ],
)
def test_a_pickle_that_is_no_exception_here_gives_the_stand_in(data):
    error = rebuild(record(pickled=data))
    assert type(error) is RemoteError
    assert str(error) == "Odd: no good"


def test_a_remote_error_that_crosses_keeps_its_notes_once():
    class LocalError(Exception):
        pass

    inner = rebuild(capture(raised(LocalError("far away"))))
    crossed = rebuild(capture(raised(inner)))
    assert type(crossed) is RemoteError
    assert len([note for note in crossed.__notes__ if note in inner.__notes__]) == len(inner.__notes__)


@dataclass(frozen=True, slots=True)
class FrozenError(Exception):
    code: int


class RefusesNotesError(Exception):
    def add_note(self, note):
        raise RuntimeError("no notes")


@pytest.mark.parametrize("error", [FrozenError(3), RefusesNotesError(3)])
def test_an_exception_that_refuses_what_is_added_is_rebuilt_all_the_same(error):
    rebuilt = rebuild(capture(raised(error, KeyError("inner"))))
    assert type(rebuilt) is type(error)
    assert rebuilt.args == (3,)
    assert "in the worker" in rebuilt.__notes__[0]
    assert type(rebuilt.__cause__) is KeyError


@pytest.mark.parametrize("notes", [5, None, "one note", ["good", 3]])
def test_odd_notes_break_nothing(notes):
    error = ValueError("bad")
    error.__notes__ = notes
    rebuilt = rebuild(capture(raised(error)))
    assert str(rebuilt) == "bad"
    assert "in the worker" in rebuilt.__notes__[-1]


def test_the_error_of_an_item_names_item_place_and_fault():
    error = item_error(capture(raised(KeyError("k"))), {"row": 1}, 17, 1)
    assert str(error) == "item 17 ({'row': 1}) failed: KeyError: 'k'"
    assert (error.item, error.index, error.attempts, error.raised_by_function) == ({"row": 1}, 17, 1, True)
    assert type(error.__cause__) is KeyError
    shown = "".join(traceback.format_exception(error))
    assert "in the worker:" in shown
    assert "test_failures.py" in shown


def test_attempts_are_told_where_there_were_several():
    assert "failed (3 attempts): " in str(item_error(record(), 1, 0, 3))


def test_a_large_item_is_shown_short():
    assert len(str(item_error(record(), "x" * 10**6, 0, 1))) < 200
    assert len(str(item_error(record(), list(range(10**5)), 0, 1))) < 200


class Unshowable:
    def __repr__(self):
        raise RuntimeError("no repr")


def test_an_item_that_can_not_be_shown_breaks_nothing():
    item = Unshowable()
    assert item_error(record(), item, 4, 1).item is item
    assert "item 4" in str(unsendable_error(TypeError("no"), item, 4))
    lost = Lost(None, 0, 1, 1, to_blame=True)
    assert death_error(lost, item, 4, 1, 1).item is item


def test_an_item_that_can_not_be_sent():
    cause = TypeError("cannot pickle 'lock'")
    error = unsendable_error(cause, [1], 3)
    assert type(error) is ItemError
    assert str(error) == "item 3 (list) can't be sent to a worker: TypeError: cannot pickle 'lock'"
    assert error.__cause__ is cause
    assert not error.raised_by_function


@pytest.mark.parametrize(
    ("exitcode", "said"),
    [
        (-9, "was killed by SIGKILL"),
        (-11, "was killed by SIGSEGV"),
        (-63, "was killed by signal"),
        (3, "exited with code 3"),
        (0, "exited with code 0"),
        (None, "disappeared"),
    ],
)
def test_the_error_of_a_death_tells_who_died_of_what_and_how_often(exitcode, said):
    error = death_error(Lost(None, 2, 4711, exitcode, to_blame=True), "item", 5, 3, attempts=4)
    assert isinstance(error, WorkerDiedError)
    assert said in str(error)
    assert "worker 2 (pid 4711)" in str(error)
    assert "item 5 ('item'), death 3 of 3 allowed; the item fails" in str(error)
    assert (error.worker, error.pid, error.exitcode) == (2, 4711, exitcode)
    assert (error.item, error.index, error.attempts) == ("item", 5, 4)
    assert not error.raised_by_function


def test_a_failure_is_false_and_knows_its_attempts():
    failure = Failure("item", 3, item_error(record(), "item", 3, 2))
    assert not failure
    assert list(filter(None, [1, failure, 2])) == [1, 2]
    assert failure.attempts == 2


def test_a_failure_tells_its_traceback_whatever_made_it_fail():
    told = Failure(7, 0, item_error(record(), 7, 0, 2))
    assert (told.item, told.index, told.attempts, told.traceback) == (7, 0, 2, "Traceback …\nOdd: no good\n")
    assert pickle.loads(pickle.dumps(told)).traceback == told.traceback
    unsendable = Failure(7, 0, unsendable_error(raised(TypeError("no pickle")), 7, 0))
    assert unsendable.traceback.endswith("TypeError: no pickle\n")
    lost = Lost(None, 3, 4121, -9, to_blame=True)
    assert Failure(7, 0, death_error(lost, 7, 0, 3, 3)).traceback == ""
