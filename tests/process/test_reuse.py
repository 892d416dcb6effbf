"""A source that fills the same object anew for each item: what was sent must have been copied before it goes on."""

import numpy as np
import pytest

from orchestrator import Pool


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
