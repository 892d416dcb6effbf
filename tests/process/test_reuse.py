"""A source that fills the same object anew for each item: what was sent must have been copied before it goes on."""

import os

import numpy as np
import pytest

import workers
from orchestrator import Pool
from orchestrator.graph.drawing import Drawer


def ends(array):
    return int(array[0]), int(array[-1])


@pytest.mark.parametrize("size", [8, 100_000])
@pytest.mark.parametrize("chunk", [1, "auto"])
def test_an_array_that_is_filled_anew(size, chunk):
    buffer = np.zeros(size)

    def items():
        for n in range(300):
            buffer[:] = n
            yield buffer

    with Pool(2) as pool:
        assert list(pool.map(ends, items(), chunk=chunk)) == [(n, n) for n in range(300)]


def test_a_list_that_is_filled_anew():
    row = [0]

    def items():
        for n in range(2000):
            row[0] = n
            yield row

    with Pool(2) as pool:
        assert list(pool.map(sum, items())) == list(range(2000))


def refilled(kind, size):
    """Return a source that changes what it has yielded, and what its items are worth."""
    array, rows, row, raw = np.zeros(size), [np.zeros(size), np.zeros(size)], {}, bytearray(4)
    for n in range(60):
        array[:] = rows[n % 2][:] = row["n"] = raw[0] = n
        if kind == "mixed" and n < 20:
            yield n
        else:
            yield {"view": array[:], "two": rows[n % 2], "dict": row, "in a tuple": (n, row), "bytes": raw}.get(
                kind, array
            )


def worth(item):
    item = item[1] if isinstance(item, tuple) else item
    return int(item if isinstance(item, int) else item["n"] if isinstance(item, dict) else item[0])


def fails_once(item):
    if workers.current().attempt == 1:
        raise ValueError
    return worth(item)


def fails(item):
    raise ValueError


def dies_once(item):
    if workers.current().attempt == 1:
        os._exit(1)
    return worth(item)


@pytest.mark.parametrize("kind", ["view", "two", "dict", "in a tuple", "bytes", "mixed"])
def test_what_was_sent_is_what_runs_runs_again_and_is_kept(kind):
    letters = []
    with Pool(2) as pool:
        for size in (8, 20_000):
            for chunk in (1, 7, "auto"):
                assert list(pool.map(worth, refilled(kind, size), chunk=chunk)) == list(range(60))
            assert list(pool.map(fails_once, refilled(kind, size), retries=1)) == list(range(60))
            kept = pool.map(fails, refilled(kind, size), on_error="return", dead_letters=letters.append)
            assert [worth(failure.item) for failure in kept] == list(range(60))
        some = (item for n, item in enumerate(refilled(kind, 8)) if n % 20 == 0)
        assert list(pool.map(dies_once, some, chunk=2)) == [0, 20, 40]
    assert [worth(letter.item) for letter in letters] == 2 * list(range(60))


def test_items_that_nobody_else_has_are_not_copied():
    drawer = Drawer(iter([1, "a", (1, 2.0)]))
    assert type(drawer.draw(5)) is list
    drawer = Drawer({"a": n} for n in range(3))
    assert type(drawer.draw(5)) is list
    drawer = Drawer(np.zeros(3) for _ in range(3))
    assert type(drawer.draw(5)) is list


def test_a_source_is_never_asked_ahead():
    asked = []

    def items():
        for n in range(6):
            asked.append(n)
            yield [n] if n % 2 else n

    drawer = Drawer(items())
    for n in range(6):
        assert list(drawer.draw(1)) == [[n] if n % 2 else n]
        assert len(asked) == n + 1
    assert drawer.draw(1) == []
    assert drawer.ended
