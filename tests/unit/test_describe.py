"""What describes items, functions and errors never raises, is short, and runs no code of theirs."""

import functools
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hostile import ITEMS, TEXTS, BadError, Data, RaisesAnything, Text

from orchestrator import ConfigError, Pool, Stream, Workflow
from orchestrator.engine.protocol.status import describe_item
from orchestrator.engine.recovery.item_errors import Failure, item_error, unsendable_error
from workers.errors.capture import capture
from workers.errors.describe import SHOWN, class_names, describe, describe_function


class Point(NamedTuple):
    x: int
    y: int


@dataclass(slots=True)
class Slotted:
    x: int


@pytest.mark.parametrize("name", ITEMS)
def test_hostile_items(name):
    shown = describe(ITEMS[name])
    assert shown
    assert len(shown) <= SHOWN
    error = item_error(capture(ValueError("why")), ITEMS[name], 3, 1)
    assert "ValueError: why" in str(error)
    assert len(str(error)) < 500
    assert "item 3" in str(unsendable_error(BadError("why"), ITEMS[name], 3))
    assert len(repr(Failure(ITEMS[name], 3, error))) < 800
    describe_item(ITEMS[name])


@pytest.mark.parametrize(
    ("obj", "shown"),
    [
        pytest.param(10**5000, "<int of 16,610 bits>", id="long int"),
        ("it's", '"it\'s"'),
        ((1,), "(1,)"),
        (set(), "set()"),
        ({1: [2, (3, {4: 5})]}, "{1: [2, (3, {…})]}"),
        (list(range(9)), "[0, 1, 2, 3, 4, 5, …]"),
        (Point(1, 2), "Point((1, 2))"),
        (OrderedDict(a=1), "OrderedDict({'a': 1})"),
        (Slotted(1), "Slotted(x=1)"),
        (Data([1]), "Data(inner=[1])"),
        (math.sqrt, "<function math.sqrt>"),
        (functools.partial(math.sqrt, RaisesAnything()), "functools.partial(<function math.sqrt>, …)"),
        (int, "<class builtins.int>"),
        pytest.param(Text("abc"), "Text('abc')", id="text"),
        (range(10**30), f"range(0, {10**30})"),
        (object(), "<builtins.object object>"),
    ],
)
def test_what_it_says(obj, shown):
    assert describe(obj) == shown


json_like = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), st.lists)


@given(json_like, st.integers(1, 200))
def test_never_longer_than_asked(obj, limit):
    assert 0 < len(describe(obj, limit)) <= limit


def test_an_item_within_itself():
    item = []
    item.append(item)
    assert describe(item) == "[[[[…]]]]"


class Named:
    @property
    def __name__(self):
        raise SystemExit

    __module__ = RaisesAnything()

    def __call__(self, x):
        raise ValueError(x)


def test_functions():
    assert describe_function(math.sqrt) == "math.sqrt"
    assert "Named" in describe_function(Named())


class Meta(type):
    def __repr__(cls):
        raise SystemExit

    def __getattribute__(cls, name):
        if name in {"__qualname__", "__name__", "__module__", "__mro__"}:
            raise SystemExit
        return super().__getattribute__(name)


class MetaError(Exception, metaclass=Meta):
    pass


@pytest.mark.parametrize("name", TEXTS)
def test_hostile_texts_of_errors(name):
    record = capture(BadError(TEXTS[name]))
    assert type(record.text) is str
    assert len(record.text) + len(record.traceback) < 400_000
    str(item_error(record, 5, 0, 1))


def test_hostile_classes_notes_and_causes_of_errors():
    error = MetaError("why")
    error.__cause__ = BadError(10**5000)
    error.__notes__ = [RaisesAnything(), "x" * 10**7]
    record = capture(error)
    assert record.type_name == "MetaError"
    assert sum(map(len, record.notes)) < 200_000
    assert class_names(MetaError)[0].endswith(".MetaError")
    error.__notes__ = 5
    capture(error)


@pytest.mark.parametrize("name", ITEMS)
def test_hostile_arguments(name):
    bad = ITEMS[name]
    for refused in (
        lambda: Pool(start_method=bad),
        *(() if callable(bad) else (lambda: Pool(initializer=bad),)),
        lambda: Workflow(bad),
        lambda: Workflow().step("a", bad),
        lambda: Workflow().branch("a", {"x": bad}, by=abs),
        lambda: Stream([1]).to(bad),
        lambda: Stream([1]).map(abs, chunk=bad),
        lambda: Stream([1]).map(abs, on_error=bad),
        lambda: Stream([1]).map(abs, timeout=bad),
        lambda: Stream([1]).map(abs, retries={bad: 1}),
        lambda: Stream([1]).map(abs, dead_letters=bad),
        lambda: Stream([1]).route({"a": abs}, match=bad),
        lambda: Stream.read(["x"], format=bad),
    ):
        try:
            refused()
        except (ConfigError, ValueError, TypeError, KeyError) as error:
            assert len(str(error)) < 1000  # noqa: PT017 - some of these are fine with some of the items
