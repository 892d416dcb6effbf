"""What JSON has not is written in one way, and reading gives what `json.loads` gives, with orjson and without."""

import datetime
import json
import uuid
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.records.formats import json_text
from workers.records.formats.json_text import json_line, parse_json, parser_for, to_json
from workers.records.formats.output import ResultError


@dataclass
class Point:
    x: int
    seen: datetime.date


class Colour(Enum):
    RED = "red"


MOMENT = datetime.datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (MOMENT, '"2024-02-29T12:30:01.000005+00:00"'),
        (MOMENT.date(), '"2024-02-29"'),
        (MOMENT.time(), '"12:30:01.000005"'),
        (Decimal("0.10000000000000000000001"), '"0.10000000000000000000001"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Point(1, MOMENT.date()), '{"x": 1, "seen": "2024-02-29"}'),
        ({"b", "a", "c"}, '["a", "b", "c"]'),
        (frozenset({2, "a", None}), '[null, 2, "a"]'),
        (Colour.RED, '"red"'),
        ({"deep": [{1}, (Decimal(1),)]}, '{"deep": [[1], ["1"]]}'),
    ],
)
def test_values_that_json_has_not(value, written):
    assert to_json(value) == written
    assert json_line([value, "\ud800"]) == f'[{written}, "\\ud800"]\n'.encode()


def test_numpy_scalars_and_arrays():
    np = pytest.importorskip("numpy")
    value = {"i": np.int32(3), "f": np.float32(0.5), "b": np.bool_(True), "a": np.arange(4).reshape(2, 2), "t": np.datetime64("2024-02-29")}
    assert to_json(value) == '{"i": 3, "f": 0.5, "b": true, "a": [[0, 1], [2, 3]], "t": "2024-02-29"}'


@pytest.mark.parametrize("value", [object(), b"bytes", 1j, Point, iter([1])])
def test_what_has_no_meaning_is_refused(value):
    with pytest.raises(ResultError, match="can't be written as JSON"):
        to_json(value)


NUMBERS = st.integers() | st.integers(2**62, 2**66) | st.floats() | st.integers(-(2**65), -(2**62))
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=8
)


def told(parse, line):
    try:
        return repr(parse(line))
    except ValueError as error:
        return str(error)


@given(value=VALUES, ascii_only=st.booleans(), cut=st.integers(0, 200))
def test_lines_are_read_as_by_the_json_module(value, ascii_only, cut):
    pytest.importorskip("orjson")
    for line in (json.dumps(value, ensure_ascii=ascii_only), json.dumps(value)[:cut]):
        assert told(parser_for(line), line) == told(json.loads, line)


@pytest.mark.parametrize("line", ["18446744073709551616", "NaN", "-Infinity", "1e400", '"\\ud800"', "[1,]", ""])
def test_what_orjson_reads_differently(line):
    pytest.importorskip("orjson")
    assert told(parser_for(line), line) == told(json.loads, line)


def test_without_orjson_the_json_module_reads(monkeypatch):
    monkeypatch.setattr(json_text, "_orjson_loads", lambda: None)
    assert parser_for("1") is parse_json
