"""`numpy.memmap` arguments are the file itself, in the workers too."""

import contextlib
import functools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ItemError, Pool


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "numbers.bin"
    np.arange(600, dtype="i4").tofile(path)
    return path


def fill(array, value=-1):
    array[...] = value
    return type(array).__name__


def total(array):
    return int(array.sum()), array.flags.writeable


def test_writes_reach_the_file(pool, file):
    array = np.memmap(file, "i4", "r+", shape=(60, 10))
    rows = [array[n] for n in range(0, 60, 2)]
    assert set(pool.map(fill, rows)) == {"memmap"}
    assert np.fromfile(file, "i4").reshape(60, 10)[::2].tolist() == [[-1] * 10] * 30
    assert array[1].tolist() == list(range(10, 20))


def test_by_submit_partial_superstep_and_inside_other_things(file):
    array = np.memmap(file, "i4", "r+")
    with Pool(2) as pool:
        pool.submit(fill, array[:5], 7).result()
        pool.submit(functools.partial(fill, array[5:8]), 8).result()
        list(pool.map(lambda pair: fill(pair[0]["part"], pair[1]), [({"part": array[8:10]}, 9)]))
        pool.run_on_all(fill, array[10:12], 10)
    assert array[:13].tolist() == [7] * 5 + [8] * 3 + [9] * 2 + [10] * 2 + [12]


def test_what_cannot_travel_by_name_goes_by_value(file):
    read_only = np.memmap(file, "i4", "r")
    private = np.memmap(file, "i4", "c")
    private[:] = 1
    backwards = np.memmap(file, "i4", "r+")[::-1]
    with Pool(1) as pool:
        found = list(pool.map(total, [read_only, private, backwards, backwards[:0]]))
        assert [value for value, _ in found] == [179700, 600, 179700, 0]
        assert found[0] == (179700, False)
        list(pool.map(fill, [private]))
        assert private.tolist() == [1] * 600
        file.unlink()
        assert pool.submit(total, read_only).result()[0] == 179700


def test_a_file_that_was_replaced_is_named(file, monkeypatch, tmp_path):
    from workers.pickling import memmap

    array = np.memmap(file, "i4", "r+")
    other = tmp_path / "other"
    np.zeros(600, "i4").tofile(other)
    place_of = memmap.place_of

    def replaced_just_after(found):
        place = place_of(found)
        other.rename(file)
        return place

    monkeypatch.setattr(memmap, "place_of", replaced_just_after)
    with Pool(1) as pool, pytest.raises(ItemError, match="was replaced by another file"):
        list(pool.map(total, [array]))


def test_what_the_program_pickles_itself_is_a_copy_as_ever(file):
    array = np.memmap(file, "i4", "r+")
    with Pool(1) as pool:
        pool.submit(total, array).result()
        with contextlib.closing(pool.share(array)) as shared:
            array[0] = 99
            assert shared.get()[0] == 0
    copy = pickle.loads(pickle.dumps(array))
    copy[:] = 0
    assert array[1] == 1


@given(
    offset=st.integers(0, 3).map(lambda n: 4 * n),
    rows=st.slices(12),
    columns=st.slices(5),
    transposed=st.booleans(),
)
def test_any_view_is_the_same_array(tmp_path_factory, offset, rows, columns, transposed):
    from workers.pickling import memmap

    path = tmp_path_factory.getbasetemp() / "view.bin"
    np.arange(80, dtype="i4").tofile(path)
    view = np.memmap(path, "i4", "r+", offset=offset, shape=(12, 5))[rows, columns]
    view = view.T if transposed else view
    place = memmap.place_of(view)
    if place is None:
        assert view.size == 0 or min(view.strides) < 0
        return
    again = memmap.map_again(*place)
    assert again.tolist() == view.tolist()
    again[...] = 5
    assert (view == 5).all()
