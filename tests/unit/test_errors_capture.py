"""No exception, however it is made, breaks its own way back: `capture` never raises."""

import copyreg
import pickle
import sys

import pytest

from workers.errors.capture import ExceptionRecord, capture


def raised(error, cause=None):
    try:
        raise error from cause
    except BaseException as caught:
        return caught


class NeedsTwoError(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} {b}")


class BadTextError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class BadPickleError(Exception):
    def __reduce__(self):
        raise SystemExit(9)


class EvilError(Exception):
    """Leaves the process where it is loaded."""

    def __reduce__(self):
        return sys.exit, (9,)


class LiarError(Exception):
    """Comes back as something else."""

    def __reduce__(self):
        return ValueError, ("not me",)


class BadNotesError(Exception):
    @property
    def __notes__(self):
        raise RuntimeError("no notes")


class BadNote:
    def __str__(self):
        raise RuntimeError("no text")


def test_an_ordinary_exception_is_told_whole():
    record = capture(raised(ValueError("bad", 3)))
    assert (record.type_name, record.text) == ("ValueError", "('bad', 3)")
    assert "Traceback" in record.traceback
    assert "test_errors_capture.py" in record.traceback
    assert record.traceback.endswith("ValueError: ('bad', 3)\n")
    assert (record.notes, record.cause) == ((), None)
    loaded = pickle.loads(record.pickled)
    assert (type(loaded), loaded.args) == (ValueError, ("bad", 3))


def test_notes_are_kept():
    error = ValueError("bad")
    error.add_note("while looking")
    error.add_note("row 3")
    assert capture(error).notes == ("while looking", "row 3")


def test_the_class_is_named_with_what_it_stands_in():
    class LocalError(Exception):
        pass

    record = capture(LocalError("x"))
    assert record.type_name.endswith("<locals>.LocalError")
    assert record.pickled is None


@pytest.mark.parametrize(
    "error", [NeedsTwoError(1, 2), BadPickleError("x"), EvilError("x"), LiarError("x"), ValueError(lambda: 0)]
)
def test_what_does_not_survive_the_trip_is_not_sent(error):
    record = capture(raised(error))
    assert record.pickled is None
    assert record.type_name == type(error).__qualname__


def test_an_exception_without_a_text_says_so():
    record = capture(raised(BadTextError()))
    assert record.text == "<its __str__ raised RuntimeError>"
    assert "BadTextError" in record.traceback


@pytest.mark.parametrize("notes", [5, None, "one note", [BadNote(), 3, "good"]])
def test_odd_notes_break_nothing(notes):
    error = ValueError("bad")
    error.__notes__ = notes
    record = capture(raised(error))
    assert record.text == "bad"
    assert all(type(note) is str for note in record.notes)


def test_notes_that_can_not_be_read_break_nothing():
    record = capture(raised(BadNotesError("bad")))
    assert (record.text, record.notes) == ("bad", ())


def test_the_cause_is_chained():
    record = capture(raised(ValueError("outer"), KeyError("inner")))
    assert (record.cause.type_name, record.cause.text) == ("KeyError", "'inner'")
    assert "direct cause" in record.traceback


def test_the_context_stands_in_for_the_cause():
    def function():
        try:
            raise KeyError("inner")
        except KeyError:
            raise ValueError("outer")  # noqa: B904

    with pytest.raises(ValueError) as caught:
        function()
    assert capture(caught.value).cause.type_name == "KeyError"


def test_a_suppressed_context_is_not_sent():
    def function():
        try:
            raise KeyError("inner")
        except KeyError:
            raise ValueError("outer") from None

    with pytest.raises(ValueError) as caught:
        function()
    assert capture(caught.value).cause is None


def test_a_circle_of_causes_ends():
    a, b = ValueError("a"), ValueError("b")
    a.__cause__, b.__cause__ = b, a
    record, depth = capture(a), 0
    while record.cause is not None:
        record, depth = record.cause, depth + 1
    assert 1 <= depth <= 20


def test_a_group_crosses_with_its_members():
    record = capture(raised(ExceptionGroup("several", [ValueError(1), KeyError(2)])))
    loaded = pickle.loads(record.pickled)
    assert [type(e) for e in loaded.exceptions] == [ValueError, KeyError]
    assert "KeyError: 2" in record.traceback


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(1)])
def test_what_is_no_exception_is_told_too(error):
    record = capture(raised(error))
    assert type(pickle.loads(record.pickled)) is type(error)


def test_a_record_crosses_whatever_it_tells():
    for error in (NeedsTwoError(1, 2), BadTextError(), ValueError("\ud800"), ValueError("x" * 10**6)):
        record = capture(raised(error, BadPickleError("inner")))
        assert pickle.loads(pickle.dumps(record)) == record
        assert isinstance(record, ExceptionRecord)


def framed(monkeypatch, ours, function):
    monkeypatch.setattr("workers.errors.capture._OURS", ours)
    try:
        function()
    except BaseException as error:
        return capture(error).traceback
    raise AssertionError("raised nothing")


def code(path, text):
    space = {}
    exec(compile(text, path, "exec"), space)  # noqa: S102 - a function that seems to stand in that file
    return space["f"]


def test_the_traceback_begins_where_the_user_begins(monkeypatch):
    def user():
        raise ValueError("here")

    ours = code("/lib/ours/runner.py", "def f(g): g()")
    told = framed(monkeypatch, ("/lib/ours/", __file__), lambda: ours(code("/home/u.py", "def f(): 1 / 0")))
    assert "/lib/ours" not in told
    assert "/home/u.py" in told


def test_our_frames_behind_the_users_are_kept(monkeypatch):
    ours = code("/lib/ours/helper.py", "def f(): 1 / 0")
    user = code("/home/u.py", "def f(g): g()")
    told = framed(monkeypatch, ("/lib/ours/", __file__), lambda: user(ours))
    assert "/home/u.py" in told
    assert "/lib/ours/helper.py" in told


def test_with_no_frame_of_the_user_all_are_kept(monkeypatch):
    ours = code("/lib/ours/runner.py", "def f(): int('x')")
    assert "/lib/ours/runner.py" in framed(monkeypatch, ("/lib/ours/", __file__), ours)


def test_a_folder_whose_name_begins_like_ours_is_the_users():
    name = sys.modules["workers.errors.capture"]._OURS.rstrip("/") + "_of_mine/code.py"
    with pytest.raises(ZeroDivisionError) as caught:
        code(name, "def f(): 1 / 0")()
    assert sys.modules["workers.errors.capture"].users_part(caught.value.__traceback__.tb_next) is caught.value.__traceback__.tb_next


def test_tracebacks_of_tblib_do_not_travel(monkeypatch):
    """Dask has tblib pickle exceptions with tracebacks and causes, in every process that imports it."""
    support = pytest.importorskip("tblib.pickling_support")
    reducers = dict(copyreg.dispatch_table)
    support.install()
    try:
        try:
            raise KeyError("missing") from ValueError("first")
        except KeyError as error:
            raised = pickle.loads(capture(error).pickled)
    finally:
        copyreg.dispatch_table.clear()
        copyreg.dispatch_table.update(reducers)
    assert type(raised) is KeyError
    assert raised.__traceback__ is raised.__cause__ is None
