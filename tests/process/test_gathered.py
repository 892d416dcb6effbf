"""Groups, folds and sorted items over a real pool: who fails, what runs again, what crosses, against plain Python."""

import json
import math
import os
import signal
import sqlite3
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import workers
from orchestrator import Failure, ItemError, Pool, Stream, run
from orchestrator.aggregates import collect_of, count, first_of, last_of, mean_of, sum_of
from orchestrator.pool.engines import ENGINES
from orchestrator.streams.running import plan_of


@pytest.fixture(scope="module", params=ENGINES)
def pool(request):
    with Pool(workers=2, engine=request.param) as pool:
        yield pool


def key_of(n):
    return n % 7


def poison(n):
    if n % 100 == 42:
        raise LookupError(n)
    return n


def flaky(n):
    if n % 10 == 3 and workers.current().attempt == 1:
        raise OSError("not yet")
    return n


def deadly(n):
    if n == 1234 and workers.current().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def unsendable(n):
    return threading.Lock() if n == 77 else n


def gathered(stream, pool):
    found = []
    run(stream.to(found), pool=pool)
    return found


def in_groups(items):
    found = {}
    for n in items:
        found.setdefault(n % 7, []).append(n)
    return found


@given(
    rows=st.lists(st.tuples(st.sampled_from(["de", "fr", "it"]), st.one_of(st.none(), st.integers(-99, 99))), max_size=200),
    chunk=st.sampled_from([1, 7, "auto"]),
    memory=st.sampled_from(["1K", "256M"]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_groups_are_those_of_sqlite(pool, rows, chunk, memory):
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE t (k, v)")
    database.executemany("INSERT INTO t VALUES (?, ?)", rows)
    asked = "SELECT k, count(*), coalesce(sum(v), 0) FROM t GROUP BY k ORDER BY min(rowid)"
    wanted = [dict(zip(("country", "n", "total"), row, strict=True)) for row in database.execute(asked)]
    database.close()
    groups = Stream(rows).group_by(lambda row: row[0], key_name="country", memory=memory, chunk=chunk)
    assert gathered(groups.agg(n=count(), total=sum_of(lambda row: row[1])), pool) == wanted


@given(words=st.lists(st.text(max_size=3), max_size=300), reverse=st.booleans(), memory=st.sampled_from(["1K", "256M"]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sorted_items_are_those_of_sorted(pool, words, reverse, memory):
    pairs = list(enumerate(words))
    made = Stream(pairs).sort(lambda pair: pair[1][:1], reverse=reverse, memory=memory, chunk=20)
    assert gathered(made, pool) == sorted(pairs, key=lambda pair: pair[1][:1], reverse=reverse)


def test_a_poison_item_is_named_and_leaves_the_rest_of_its_key_alone(pool):
    made = Stream(range(1000)).group_by(key_of, on_error="skip")
    rows = gathered(made.agg(all=collect_of(poison)), pool)
    assert rows == [{"key": key, "all": all_} for key, all_ in in_groups(n for n in range(1000) if n % 100 != 42).items()]
    with pytest.raises(ItemError) as caught:
        gathered(Stream(range(1000)).group_by(key_of).agg(total=sum_of(poison)), pool)
    assert (caught.value.item, caught.value.index) == (42, 42)
    assert "group_by" in str(caught.value)


def test_what_is_retried_counts_once_and_in_its_place(pool):
    made = Stream(range(2000)).group_by(key_of, retries=2, chunk=50)
    rows = gathered(made.agg(n=count(), all=collect_of(flaky), first=first_of(), last=last_of()), pool)
    assert rows == [
        {"key": key, "n": len(all_), "all": all_, "first": all_[0], "last": all_[-1]}
        for key, all_ in in_groups(range(2000)).items()
    ]


def test_what_failed_before_passes_by(pool):
    made = Stream(range(100)).map(poison, on_error="return").map_inline(lambda n: n)
    found = gathered(made.group_by(key_of).agg(n=count()), pool)
    assert [type(each) for each in found] == [Failure, *[dict] * 7]
    assert sum(row["n"] for row in found[1:]) == 99


def test_records_of_files_and_steps_before_them_are_one_with_the_groups(pool, tmp_path):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"k": n % 3, "v": n / 7}) + "\n" for n in range(5000)))
    records = Stream.read(str(tmp_path / "in.jsonl"), format="jsonl", block_bytes=5000).filter(lambda row: row["k"])
    rows = gathered(records.group_by(lambda row: row["k"]).agg(n=count(), total=sum_of(lambda row: row["v"])), pool)
    wanted = {k: [n / 7 for n in range(5000) if n % 3 == k] for k in (1, 2)}
    assert rows == [{"key": k, "n": len(values), "total": math.fsum(values)} for k, values in wanted.items()]


def test_a_value_that_cannot_be_sent_is_its_items_failure_and_a_death_costs_nothing():
    with Pool(workers=2) as pool:
        made = Stream(range(500)).group_by(key_of, on_error="skip").agg(all=collect_of(unsendable))
        assert gathered(made, pool) == [
            {"key": key, "all": all_} for key, all_ in in_groups(n for n in range(500) if n != 77).items()
        ]
        made = Stream(range(3000)).map(deadly).sort(lambda n: -n, chunk=100)
        assert gathered(made, pool) == list(range(2999, -1, -1))


def test_reduce_and_fold(pool):
    assert gathered(Stream(range(500)).reduce(lambda a, b: a + b, 1), pool) == [1 + sum(range(500))]
    assert gathered(Stream("abc" * 200).reduce(lambda a, b: a + b), pool) == ["abc" * 200]
    assert gathered(Stream([]).reduce(max), pool) == []
    assert gathered(Stream([]).reduce(max, 3), pool) == [3]
    assert gathered(Stream("abc" * 200).fold(lambda n, _: n + 1, 0, lambda a, b: a + b), pool) == [600]


def fingerprint(stream):
    return plan_of(stream.to(None)).fingerprint()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda s: s.group_by(lambda n: n % 2).agg(n=count()), lambda s: s.group_by(lambda n: n % 3).agg(n=count())),
        (lambda s: s.group_by(abs).agg(n=sum_of()), lambda s: s.group_by(abs).agg(n=mean_of())),
        (lambda s: s.group_by(abs).agg(n=sum_of(lambda n: n)), lambda s: s.group_by(abs).agg(n=sum_of(lambda n: -n))),
        (lambda s: s.group_by(abs).agg(n=count()), lambda s: s.group_by(abs).agg(m=count())),
        (lambda s: s.fold(max, 0, max), lambda s: s.fold(max, 1, max)),
        (lambda s: s.fold(max, 0, max), lambda s: s.fold(max, 0, min)),
        (lambda s: s.reduce(max), lambda s: s.reduce(min)),
        (lambda s: s.reduce(max, 1), lambda s: s.reduce(max, 2)),
        (lambda s: s.sort(abs), lambda s: s.sort()),
        (lambda s: s.sort(), lambda s: s.sort(reverse=True)),
        (lambda s: s.take(3), lambda s: s.take(4)),
        (lambda s: s.distinct(abs), lambda s: s.distinct()),
    ],
)
def test_a_run_is_known_by_what_it_gathers_with(one, other):
    assert fingerprint(one(Stream([1]))) == fingerprint(one(Stream([1])))
    assert fingerprint(one(Stream([1]))) != fingerprint(other(Stream([1])))
