"""What a journal holds is data: it comes back as what it was, and to read it runs nothing."""

import math
import pickle
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.checkpoint.plain_data import Pickled, dumps, has_pickles, loads
from orchestrator.engine.protocol.counts import StageCounts
from workers.functions.steps import StepCounts
from workers.records.blocks import Place

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()) | st.binary()
keys = st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
values = st.recursive(
    scalars | st.just("$") | st.just("\ud800"),
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.lists(inner).map(deque) | st.dictionaries(keys, inner) | st.sets(keys)
        | st.dictionaries(st.sampled_from(["$", "of", "a"]), inner) | st.builds(Place, st.text(), st.none() | st.integers())
    ),
    max_leaves=30,
)  # fmt: skip


def shape(value):
    """The value and its types: 1 == 1.0 == True, and a tuple is no list."""
    if isinstance(value, dict):
        return (dict, [(shape(key), shape(inner)) for key, inner in value.items()])
    if isinstance(value, list | tuple | deque):
        return (type(value), list(map(shape, value)))
    if isinstance(value, set | frozenset):
        return (type(value), sorted(repr(shape(inner)) for inner in value))
    return (type(value), repr(value))  # repr: -0.0 is not 0.0


@given(values)
def test_plain_data_comes_back_as_what_it_was_without_a_pickle(value):
    data = dumps(value, may_pickle=False)
    found = loads(data)
    assert not has_pickles(found)
    assert shape(found) == shape(value)


def test_numbers_that_json_has_not_and_records_of_ours():
    steps = {"a": StepCounts(1, 2, 3, 4, 0.5)}
    counts = StageCounts(items=7, seconds=0.25, steps=steps)
    found = loads(dumps([math.inf, -math.inf, 10**5000, counts], may_pickle=False))
    assert found == [math.inf, -math.inf, 10**5000, counts]
    assert math.isnan(loads(dumps(math.nan)))


hit = []


def explode():
    hit.append(1)


class Loaded:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return explode, ()


def test_what_is_no_data_stays_closed_until_it_is_asked_for():
    hit.clear()
    data = dumps({"a": [Loaded(), (1, 2)], "b": {3: Loaded()}})
    found = loads(data)
    assert hit == []
    assert has_pickles(found)
    assert isinstance(found["a"][0], Pickled)
    assert found["a"][1] == (1, 2)
    loads(data, unpickle=True)
    assert hit == [1, 1]
    with pytest.raises(TypeError, match="Loaded is not plain data"):
        dumps(Loaded(), may_pickle=False)


def test_what_holds_itself_or_shares_its_parts_ends():
    itself = []
    itself.append(itself)
    assert has_pickles(loads(dumps(itself)))
    shared = ["x"]
    for _ in range(60):
        shared = [shared, shared]
    assert len(dumps(shared)) < 10_000_000


@pytest.mark.parametrize(
    "data",
    [
        b'{"$":"os:system","of":{"command":"true"}}',
        b'{"$":"subprocess:Popen","of":{}}',
        b'{"$":"orchestrator.pool.pool:Pool","of":{}}',
        b'{"$":"workers.sync.shared_file:SharedFile","of":{}}',
        b'{"$":"workers.records.blocks:Place","of":{"path":"a"}}',
        b'{"$":"workers.records.blocks:os","of":{}}',
        b'{"$":"tuple"}',
        b'{"$":7,"of":7}',
        pickle.dumps(1),
    ],
)
def test_what_is_not_ours_is_no_data(data):
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        loads(data)
