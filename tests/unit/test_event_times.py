"""Event times of every kind give the same windows and joins as seconds; what is no time is refused by name."""

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ConfigError, ItemError, Stream, run

KINDS = {
    "int": int,
    "float": float,
    "Decimal": Decimal,
    "Fraction": Fraction,
    "numpy": np.float32,
    "numpy int": np.int64,
    "timedelta": lambda s: timedelta(seconds=s),
    "datetime": lambda s: datetime.fromtimestamp(s, UTC),
    "datetime of a zone": lambda s: datetime.fromtimestamp(s, timezone(timedelta(hours=5))),
    "datetime without a zone": lambda s: datetime(1970, 1, 1) + timedelta(seconds=s),  # noqa: DTZ001
}
LENGTHS = {"seconds": float, "Decimal": Decimal, "timedelta": lambda s: timedelta(seconds=s)}


def windows(times, at, length=float, **more):
    found = Stream(times).window_by_time(length(10), at, step_s=length(5), lateness_s=length(2), **more)
    return [(window.start_s, window.end_s, window.items) for window in found]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", LENGTHS)
@given(times=st.lists(st.integers(0, 100), max_size=30))
def test_windows_are_those_of_seconds(kind, length, times):
    assert windows(times, KINDS[kind], LENGTHS[length]) == windows(times, float)


@pytest.mark.parametrize("kind", KINDS)
def test_joins_are_those_of_seconds(kind):
    def joined(at, within):
        pairs = Stream([1, 5, 9, 20]).join(Stream([2, 6, 30]), lambda _: "k", many=True, within_s=within, at=at)
        return sorted(pairs)

    assert joined(KINDS[kind], timedelta(seconds=3)) == joined(float, 3) == [(1, 2), (5, 2), (5, 6), (9, 6)]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("12:00", "str"),
        (None, "NoneType"),
        (date(2026, 1, 1), "date"),
        (np.datetime64("2026-01-01"), "datetime64"),
        (1j, "complex"),
        ([1], "list"),
        (math.nan, "finite"),
        (math.inf, "finite"),
        (Decimal("NaN"), "finite"),
        (10**400, "finite"),
    ],
)
@pytest.mark.parametrize("before", [0, 3])
def test_what_is_no_time_is_named_with_its_item(value, told, before):
    items = [*range(before), value, 5]
    got = []
    with pytest.raises(ItemError, match=told) as caught:
        run(Stream(items).window_by_time(1, at=lambda x: x).to(got))
    assert (caught.value.index, caught.value.item is value) == (before, True)
    assert [window.items for window in got] == [[k] for k in range(before - 1)]
    with pytest.raises(ItemError, match=told):
        run(Stream(items).join(Stream([]), abs, within_s=1, at=lambda x: x, right_key=abs).to(None))


@pytest.mark.parametrize(
    "lengths",
    [{"length_s": "1m"}, {"length_s": 0}, {"length_s": 1, "step_s": datetime(2026, 1, 1)},  # noqa: DTZ001
     {"length_s": 1, "lateness_s": timedelta(-1)}, {"length_s": None}],
)  # fmt: skip
def test_lengths_that_can_not_be_are_refused_before_anything_runs(lengths):
    with pytest.raises(ConfigError, match=r"_s must be"):
        Stream([]).window_by_time(at=float, **lengths)


LATE = [0, 10, 20, 3, 30, 4, 31, 5]


def test_items_that_come_too_late_are_counted_in_the_report():
    report = run(Stream(LATE).window_by_time(5, float).to(None))
    assert report.nodes["window_by_time"].late == 3
    assert "late 3" in str(report)
    many = run(Stream([*range(5000, 3700, -1)]).window_by_time(1, float).to(None))
    assert "1,300 in, 1 out, late 1,299" in str(many)
    assert "late" not in str(run(Stream([1, 2]).window_by_time(5, float).to(None)))


def test_and_given_to_whatever_is_a_sink_or_as_a_stream(tmp_path):
    listed, called = [], []
    for late in (listed, called.append, str(tmp_path / "late")):
        assert len(windows(LATE, float, late=late)) > 0
    assert listed == called == [3, 4, 5]
    assert (tmp_path / "late").read_text() == "3\n4\n5\n"
    given, late = Stream(LATE).window_by_time_and_late(10, float, step_s=5, lateness_s=2)
    got, behind = [], []
    report = run(given.to(got), late.map_inline(lambda x: -x).to(behind))
    assert [(window.start_s, window.end_s, window.items) for window in got] == windows(LATE, float)
    assert behind == [-3, -4, -5]
    assert report.nodes["window_by_time"].late == 3
