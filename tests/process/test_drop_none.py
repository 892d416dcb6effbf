"""`drop_none`: results that are None are left out, wherever the step stands, and the counts leave them out too."""

import pytest

from orchestrator import ConfigError, Failure, Pool, Stream, Workflow, run

ITEMS = range(40)


def thirds(n):
    if n % 7 == 3:
        raise ValueError(n)
    return None if n % 3 == 0 else n


def plus(a, b):
    return None if (a + b) % 3 == 0 else a + b


def same(n):
    return n


def pair(n):
    return [n, None] if n % 2 else [None]


def give_none(n):
    return None if n % 2 else n


@pytest.fixture(scope="module")
def pool():
    with Pool(2) as made:
        yield made


def _model(on_error):
    found = []
    for n in ITEMS:
        if n % 7 == 3:
            found += ["failed"] if on_error == "return" else []
        elif n % 3:
            found.append(n)
    return found


def _shown(results):
    return ["failed" if isinstance(each, Failure) else each for each in results]


@pytest.mark.parametrize("on_error", ["skip", "return"])
@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize("chunk", [1, 3, "auto"])
def test_a_map_beside_failures_and_retries(pool, on_error, retries, chunk):
    options = {"on_error": on_error, "retries": retries, "chunk": chunk, "drop_none": True}
    for function in (thirds, Workflow().step("one", same).step("two", thirds)):
        assert _shown(pool.map(function, ITEMS, **options)) == _model(on_error)


def test_what_stands_before_the_failure_that_ends_it(pool):
    found = []
    with pytest.raises(ValueError, match="3"):
        try:
            for result in pool.map(thirds, ITEMS, chunk=10, drop_none=True):
                found.append(result)  # noqa: PERF402 - it raises
        except Exception as error:
            raise error.__cause__ from None
    assert found == [1, 2]


def test_several_iterables_and_one_item_a_chunk_that_is_none(pool):
    assert list(pool.map(plus, range(9), range(9), drop_none=True)) == [n * 2 for n in range(9) if n % 3]
    assert list(pool.map(give_none, [1, 1, 1], chunk=1, drop_none=True)) == []
    assert list(pool.map(give_none, [1, 2])) == [None, 2]


def test_a_result_that_cannot_be_sent_keeps_its_place(pool):
    results = list(pool.map(_lock_or_none, range(9), chunk=9, on_error="return", drop_none=True))
    assert [each.index if isinstance(each, Failure) else each for each in results] == [1, 2, 4, 5, 7]
    assert [type(each) for each in results] == [int, int, Failure, int, int]


def _lock_or_none(n):
    if n == 4:
        return (each for each in ())
    return None if n % 3 == 0 or n == 8 else n


@pytest.mark.parametrize("on_error", ["skip", "return"])
def test_it_is_a_filter_right_behind_its_own_step(pool, on_error):
    out = []
    stream = Stream(ITEMS).map(thirds, on_error=on_error, drop_none=True).map(same).flat_map(pair, drop_none=True)
    assert "map thirds + map same + flat_map pair" in stream.explain()  # it keeps no neighbours apart
    report = run(stream.map(give_none, desc="last").to(out), pool=pool)
    through = [n for n in ITEMS if n % 7 != 3 and n % 3]
    assert [each for each in _shown(out) if each != "failed"] == [give_none(n) for n in through if n % 2]
    assert report.nodes["thirds"].items_out == report.nodes["same"].items_in == len(through)
    assert report.nodes["pair"].items_out == report.nodes["last"].items_in == sum(n % 2 for n in through)
    assert report.failed == sum(n % 7 == 3 for n in ITEMS)


def test_a_workflow_drops_what_comes_out_of_it(pool):
    kinds = Workflow().branch("kind", {0: give_none, 1: same}, by=_parity)
    assert Stream([1, 2, 3]).through(kinds.step("then", give_none), drop_none=True).collect() == [2]
    behind = kinds.step("inside", give_none).barrier().step("after", same)
    assert list(pool.map(behind, range(6), drop_none=True)) == [0, 2, 4]
    assert list(pool.map(behind, range(4))) == [0, None, 2, None]


def _parity(n):
    return n % 2


def test_it_is_true_or_false(pool):
    with pytest.raises(ConfigError, match="drop_none must be True or False, not 'yes'"):
        Stream([1]).map(same, drop_none="yes")
    with pytest.raises(ConfigError, match="drop_none"):
        pool.map(same, [1], drop_none=1)
