"""Aggregates, folds and sorted runs, as workers make them and as they are merged, against plain Python."""

import errno
import math
import os
import pickle
import sqlite3
import statistics
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ConfigError, OrchestratorError, Stream
from orchestrator.aggregates import collect_of, count, first_of, fold_of, last_of, max_of, mean_of, min_of, sum_of
from orchestrator.streams.patterns.gathered import grouping as gathered
from orchestrator.streams.patterns.gathered import store
from orchestrator.streams.patterns.gathered.grouping import GroupMerge
from orchestrator.streams.patterns.gathered.sorting import SortMerge
from tests.support.nodes import Bench
from workers.functions.aggregates.grouping import Grouping
from workers.functions.aggregates.sorting import Sorting
from workers.functions.fused import FusedRunner
from workers.functions.runner import CallSpec
from workers.functions.steps import Step, Steps

floats = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.one_of(st.integers(), floats, st.booleans(), st.fractions())


def cut(data, items):
    """Cut items into chunks."""
    chunks, at = [], 0
    while at < len(items):
        size = data.draw(st.integers(1, 5))
        chunks.append(items[at : at + size])
        at += size
    return chunks


def merged(aggregate, chunks):
    """What an aggregate makes of the chunks, each made on its own and sent."""
    parts = [pickle.loads(pickle.dumps(aggregate.part(chunk))) for chunk in chunks]
    whole = parts[0]
    for part in parts[1:]:
        whole = aggregate.merged(whole, part)
    return aggregate.result(whole)


def exact(values):
    total = sum(map(Fraction, values))
    if not any(isinstance(value, float) for value in values):
        return total
    try:
        return total.numerator / total.denominator
    except OverflowError:
        return math.copysign(math.inf, total)


@given(values=st.lists(numbers, min_size=1), data=st.data())
def test_a_sum_is_exact_however_it_was_cut(values, data):
    assert merged(sum_of(), cut(data, values)) == exact(values)


@given(values=st.lists(floats, min_size=1), data=st.data())
def test_a_sum_of_floats_is_that_of_fsum(values, data):
    try:
        wanted = math.fsum(values)
    except OverflowError:
        return
    got = merged(sum_of(), cut(data, values))
    assert (got, type(got)) == (wanted, float)


@given(values=st.lists(st.sampled_from([1, 2.5, math.inf, -math.inf, math.nan]), min_size=1), data=st.data())
def test_what_is_not_finite_adds_up_as_in_plain_python(values, data):
    got, wanted = merged(sum_of(), cut(data, values)), sum(values)
    assert got == wanted or (math.isnan(got) and math.isnan(wanted))


@given(values=st.lists(st.one_of(st.integers(-9, 9), st.decimals(-100, 100, places=2)), min_size=1), data=st.data())
def test_decimals_stay_decimals(values, data):
    got = merged(sum_of(), cut(data, values))
    assert got == sum(values)
    assert type(got) is (Decimal if any(isinstance(value, Decimal) for value in values) else int)


@given(values=st.lists(st.one_of(st.none(), st.integers(-1000, 1000)), min_size=1), data=st.data())
def test_none_is_no_value_as_in_sql(values, data):
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (v)")
    database.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
    wanted = database.execute("SELECT coalesce(sum(v), 0), avg(v), min(v), max(v), count(*) FROM t").fetchone()
    database.close()
    chunks = cut(data, values)
    got = [merged(each, chunks) for each in (sum_of(), mean_of(), min_of(), max_of(), count())]
    assert got[1] == (pytest.approx(wanted[1]) if wanted[1] is not None else None)
    assert (got[0], *got[2:]) == (wanted[0], *wanted[2:])


@given(values=st.lists(st.floats(allow_nan=True), min_size=1), data=st.data())
def test_the_least_and_the_greatest_leave_out_what_is_no_number(values, data):
    there = [value for value in values if not math.isnan(value)]
    chunks = cut(data, values)
    assert merged(min_of(), chunks) == min(there, default=None)
    assert merged(max_of(), chunks) == max(there, default=None)


@given(values=st.lists(st.integers(-50, 50), min_size=1), data=st.data())
def test_the_rest_are_as_plain_python_has_them(values, data):
    chunks = cut(data, values)
    assert merged(mean_of(), chunks) == statistics.mean(values)
    assert (merged(first_of(), chunks), merged(last_of(), chunks)) == (values[0], values[-1])
    assert merged(collect_of(), chunks) == values
    assert merged(fold_of(lambda s, v: [*s, v] if v > 0 else s, [], list.__add__), chunks) == [v for v in values if v > 0]


def test_an_initial_value_is_not_shared():
    def put(found, value):
        found.append(value)
        return found

    made = fold_of(put, [], list.__add__)
    assert (made.part([1]), made.part([2])) == ([1], [2])


# ---- the step in the workers -------------------------------------------------------------------------------------


def spread(n):
    return [n + k for k in range(n % 3)]


def fussy(n):
    if n % 13 == 5:
        raise LookupError(n)
    return n


def brittle(n):
    return "text" if n % 11 == 7 else [n] if n % 17 == 3 else n


def never_after_a_20(found, n):
    found.append(n)
    if n >= 20:
        raise ValueError(n)
    return found


AGGREGATES = {
    "fails in the key": (lambda n: fussy(n) % 4, [count(), collect_of()], lambda n: n % 13 == 5),
    "fails in a value": (lambda n: n % 4, [count(), sum_of(fussy)], lambda n: n % 13 == 5),
    "is no number": (lambda n: n % 4, [sum_of(brittle), collect_of()], lambda n: n % 11 == 7 or n % 17 == 3),
    "has no hash": (lambda n: [n] if n % 5 == 0 else n % 4, [count(), collect_of()], lambda n: n % 5 == 0),
    "changes before it raises": (
        lambda n: n % 4, [count(), fold_of(never_after_a_20, [], list.__add__)], lambda n: n >= 20,
    ),
}  # fmt: skip


def ran(steps, items, *, stop=False):
    spec = CallSpec(steps, star=False, stop_at_failure=stop, forward_output=False)
    return FusedRunner(spec, steps).run(items, lambda: False)


@pytest.mark.parametrize("name", AGGREGATES)
@given(items=st.lists(st.integers(0, 60), max_size=40))
def test_who_fails_is_known_and_counts_nowhere(name, items):
    key, aggregates, fails = AGGREGATES[name]
    grouping = Grouping(key, aggregates)
    done = ran(Steps((Step("spread", "flat_map", spread), Step("fold", "fold", grouping))), items)
    assert sorted(place for place, _ in done.failures) == [k for k, n in enumerate(items) if any(map(fails, spread(n)))]
    good = [n for n in items if not any(map(fails, spread(n)))]
    wanted = ran(Steps((Step("spread", "flat_map", spread), Step("fold", "fold", grouping))), good).flat()
    for parts in (done.flat(), [part for group in done.by_item(stop=False) for part in group]):
        assert everything(grouping, parts) == everything(grouping, wanted)


def everything(grouping, parts):
    node = GroupMerge([(str(k), each) for k, each in enumerate(grouping.aggregates)], lambda key, found: (key, found))
    return Bench(node, [pickle.loads(pickle.dumps(parts))]).run()


@given(items=st.lists(st.integers(0, 60), max_size=40))
def test_with_the_first_failure_the_chunk_ends(items):
    grouping = Grouping(lambda n: fussy(n) % 4, [collect_of()])
    done = ran(Steps((Step("spread", "flat_map", spread), Step("fold", "fold", grouping))), items, stop=True)
    bad = [k for k, n in enumerate(items) if any(each % 13 == 5 for each in spread(n))]
    assert [place for place, _ in done.failures] == bad[:1]
    wanted = [n for item in items[: bad[0] if bad else None] for n in spread(item)]
    got = [n for part in done.flat() for (found,) in part.values() for n in found]
    assert sorted(got) == sorted(wanted)


def test_what_cannot_be_compared_is_at_fault():
    """Within a part: a chunk that runs long is gathered in several, which need not fit each other."""
    _, failures = Sorting(None, reverse=False).together([(item, item) for item in [3, 1, None, "a", 2]])
    assert list(failures) == [2, 3]
    done = ran(Steps((Step("sort", "fold", Sorting(lambda n: 1 / n, reverse=False)),)), [3, 1, 0, 2])
    assert [place for place, _ in done.failures] == [2]
    assert sorted(item for items, _ in done.flat() for item in items) == [1, 2, 3]


# ---- what is gathered here ---------------------------------------------------------------------------------------


def parts_of(grouping, items):
    return grouping.together([(item, item) for item in items])[0]


def test_groups_beyond_the_memory_take_no_more_of_it_and_keep_their_order():
    grouping = Grouping(lambda n: n, [sum_of()])
    node = GroupMerge([("sum", sum_of())], lambda key, found: (key, *found), memory="200K")
    chunks = [parts_of(grouping, [*range(start, start + 500), 3]) for start in range(0, 60_000, 500)]
    bench = Bench(node, [chunks])
    most = 0
    while bench.feeds[0].items:
        bench.turn([1])
        most = max(most, len(node._table))
    (rows,) = bench.run()
    assert rows == [(n, 3 + 3 * len(chunks) if n == 3 else n) for n in range(60_000)]
    assert most < 3000


def test_a_partition_that_does_not_fit_is_divided_again(monkeypatch):
    depths, partitioned = set(), gathered._partitioned
    monkeypatch.setattr(gathered, "_partitioned", lambda *args: depths.add(args[2]) or partitioned(*args))
    grouping = Grouping(lambda n: n, [collect_of()])
    node = GroupMerge([("all", collect_of())], lambda key, found: (key, *found), memory="20K")
    (rows,) = Bench(node, [[parts_of(grouping, range(k, 6000 + k, 7)) for k in range(7)]]).run()
    assert sorted(rows) == [(n, [n]) for n in range(6006)]
    assert [key for key, _ in rows] == [n for k in range(7) for n in range(k, 6000 + k, 7)]
    assert depths == {0, 1}, "once is enough"


def test_many_runs_become_fewer(monkeypatch):
    from orchestrator.streams.patterns.gathered import sorting

    monkeypatch.setattr(sorting, "MOST_RUNS", 3)
    node = SortMerge(memory=100)
    runs = [([n, n + 50, n + 100], None) for n in range(40)]
    bench = Bench(node, [runs])
    bench.turn([0])
    while bench.feeds[0].items:
        bench.turn([1])
        assert len(node._runs) <= 3
    assert bench.run() == [sorted(n for items, _ in runs for n in items)]


def test_a_full_disk_is_one_clear_error(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    for stream in (Stream(range(5000)).sort(memory="1K"), Stream(range(5000)).group_by(abs, memory="1K").agg(n=count())):
        with pytest.raises(OrchestratorError, match=r"No space left on device; free some space there, or point TMPDIR"):
            stream.collect(engine="serial")


def test_what_cannot_go_to_disk_is_told():
    with pytest.raises(OrchestratorError, match=r"exceed memory and can't be pickled to disk"):
        Stream([open] * 50 + [lambda: 0] * 50).sort(key=id, memory="1K").collect(engine="serial")


def test_parts_that_cannot_be_merged_name_aggregate_and_key():
    node = GroupMerge([("least", min_of())], lambda key, found: (key, *found))
    with pytest.raises(Exception, match="agg") as caught:
        Bench(node, [[{"k": [1]}, {"k": ["one"]}]]).run()
    assert "two parts of 'least' can't be merged (key 'k'): TypeError" in str(caught.value.cause)


def test_memory_is_judged_by_samples():
    assert store.bytes_of([]) == 0
    assert 36_000 <= store.bytes_of(list(range(1000, 2000))) <= 37_000
    assert store.bytes_of_one({"a": ["x" * 1000] * 10}) > 10_000


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda s: s.group_by(3), "needs a function"),
        (lambda s: s.group_by(abs).agg(), "agg needs an aggregate"),
        (lambda s: s.group_by(abs).agg(n=count), r"must be an aggregate .*; write count\(\)"),
        (lambda s: s.group_by(abs).agg(n=len), "must be an aggregate"),
        (lambda s: s.group_by(abs).agg(key=count()), "name of the key"),
        (lambda s: s.group_by(abs, memory="lots").agg(n=count()), "invalid size"),
        (lambda s: s.group_by(abs, drop_none=True), "no drop_none"),
        (lambda s: s.group_by(abs, retrys=1), "retrys"),
        (lambda s: s.sort(3), "needs a function"),
        (lambda s: s.sort(memory=-1), "more than 0 bytes"),
        (lambda s: s.sort(reverse="no"), "reverse must be True or False"),
        (lambda s: s.reduce(3), "needs a function"),
        (lambda s: s.fold(max, 0, None), "needs a function"),
        (lambda s: s.group_by(abs, key_name=[]), "key_name must be a text"),
    ],
)
def test_what_cannot_be_is_refused_at_once(make, told):
    with pytest.raises(ConfigError, match=told):
        make(Stream([]))


class Salted:
    """A key whose hash is another one in each process, as that of a text is."""

    salt = 0

    def __init__(self, value):
        self.value = value

    def __hash__(self):
        return hash((Salted.salt, self.value))

    def __eq__(self, other):
        return self.value == other.value


def test_groups_on_disk_are_found_again_where_keys_have_other_hashes(tmp_path, monkeypatch):
    aggregates = [("all", collect_of(lambda n: n))]
    grouping = Grouping(Salted, [each for _, each in aggregates])

    def made():
        node = GroupMerge(aggregates, lambda key, found: (key.value, *found), memory="4K")
        node.keep_written(str(tmp_path / "node"), "secret")
        return node

    def chunk(numbers):
        return grouping.together([(Salted(n), n) for n in numbers])[0]

    first, second = made(), made()
    Bench(first, [[]])
    first.receive([chunk(range(500))], 0)
    first.receive([chunk(range(300, 800))], 0)
    state = pickle.dumps(first.snapshot())
    first.failed = True
    first.close()
    monkeypatch.setattr(Salted, "salt", 1)
    second.restore({**pickle.loads(state), "hash": 0})
    (rows,) = Bench(second, [[chunk(range(700, 900))]]).run()
    assert rows == [(n, [n] * (1 + (300 <= n < 500) + (700 <= n < 800))) for n in range(900)]


class Nameless:
    def __repr__(self):
        raise RuntimeError("no repr")


@pytest.mark.parametrize("make", [sum_of, lambda odd: fold_of(odd, 0, max), lambda odd: fold_of(max, 0, odd)])
def test_what_is_no_function_is_told_though_its_repr_raises(make):
    with pytest.raises(TypeError, match="Nameless object"):
        make(Nameless())


def test_a_group_whose_result_cannot_be_computed_is_told():
    groups = Stream([1, 1]).group_by(str).agg(n=count(), mean=mean_of(lambda n: 10**400))
    with pytest.raises(OrchestratorError, match=r"^group_by \(merge\): 'mean' has no result \(key '1'\): OverflowError"):
        groups.collect(engine="serial")


def test_a_first_value_that_does_not_fit_is_told():
    with pytest.raises(OrchestratorError, match=r"^reduce \(merge\): 'reduce' has no result .*: TypeError: "):
        Stream([1, 2]).reduce(max, "a").collect(engine="serial")


def sorted_runs(numbers):
    """Runs of 50 by the last digits, and a node that takes 4 KiB of them."""
    sorting = Sorting(last_digits, reverse=False)
    runs = [sorting.together([(last_digits(n), n) for n in numbers[k : k + 50]])[0] for k in range(0, len(numbers), 50)]
    return SortMerge(memory="4K"), runs, sorted(numbers, key=last_digits)


def grouped_parts(numbers):
    aggregates = [("n", count())]
    grouping = Grouping(last_digits, [count()])
    parts = [grouping.together([(last_digits(n), n) for n in numbers[k : k + 50]])[0] for k in range(0, len(numbers), 50)]
    rows = [(digits, sum(last_digits(n) == digits for n in numbers)) for digits in dict.fromkeys(map(last_digits, numbers))]
    return GroupMerge(aggregates, lambda key, found: (key, *found), memory="4K"), parts, rows


def last_digits(number):
    return number * 7919 % 1000


@pytest.mark.parametrize("made", [sorted_runs, grouped_parts])
def test_what_gathers_on_disk_continues_in_the_middle_of_its_results(made, tmp_path):
    numbers = list(range(3000))
    node, parts, expected = made(numbers)
    node.keep_written(str(tmp_path / "node"), "secret")
    first = Bench(node, [parts], [100])
    while len(first.drains[0].got) < 300:
        first.turn([10])
    state = pickle.dumps(node.snapshot())
    node.failed = True
    node.close()
    assert list(tmp_path.iterdir())  # for the run that continues
    node, _, _ = made([])
    node.keep_written(str(tmp_path / "node"), "secret")
    node.restore(pickle.loads(state))
    (rest,) = Bench(node, [[]]).run()
    assert first.drains[0].got + rest == expected
    assert not list(tmp_path.iterdir())
