"""What newcomers meet first: reprs that tell the state, warnings, and answers to other pools' names."""

import inspect
import subprocess
import sys

import pytest

from orchestrator import Pool, Stream
from orchestrator.pool.peer_names import MAP_ARGUMENTS, METHODS, POOL_ARGUMENTS


@pytest.fixture
def pool():
    with Pool(2) as pool:
        yield pool


def test_reprs_tell_the_state(pool):
    assert repr(pool) == "Pool(2 workers, 0 busy)"
    results = pool.map(abs, [1, 2, 3])
    assert "abs: not started" in repr(results)
    next(results)
    assert "running" in repr(results)
    list(results)
    assert "ended" in repr(results)
    pool.resize(1)
    assert repr(pool).startswith("Pool(1 worker,")
    pool.close()
    assert repr(pool) == "Pool(closed)"
    assert repr(Stream([1]).map(abs).window(3)) == (
        "<Stream source > abs > window: not started, iterate it or pass its ends to run()>"
    )


def test_a_map_that_is_never_read_warns_and_one_that_is_closed_does_not(pool):
    with pytest.warns(ResourceWarning, match="the results of abs were dropped unread"):
        pool.map(abs, [1])
    pool.map(abs, [1]).close()  # warnings are errors here
    with pool.map(abs, [1]):
        pass


@pytest.mark.parametrize("name", POOL_ARGUMENTS)
def test_other_pools_arguments_are_answered_with_ours(name):
    with pytest.raises(TypeError, match=f"Pool has no argument '{name}'; use {POOL_ARGUMENTS[name]}"):
        Pool(**{name: 2})


@pytest.mark.parametrize("name", MAP_ARGUMENTS)
def test_and_those_of_their_maps(pool, name):
    with pytest.raises(TypeError, match=f"Pool.map has no argument '{name}'; use"):
        pool.map(abs, [1], **{name: 2})


@pytest.mark.parametrize("name", METHODS)
def test_and_their_methods(pool, name):
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; use pool."):
        getattr(pool, name)
    assert not hasattr(pool, "no_such_thing")


def test_signatures_stay_readable():
    assert "start_method" in inspect.signature(Pool).parameters
    assert list(inspect.signature(Pool.map).parameters)[:3] == ["self", "fn", "iterables"]


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["run", "a.py:f", "b", "--fromat", "csv"], "unknown option --fromat; did you mean --format?"),
        (["run", "a.py:f", "b", "--resum=3"], "--resum"),
        (["exec", "true", "--retires", "3"], "unknown option --retires; did you mean --retries?"),
        (["job", "a.toml", "--chekpoint", "x"], "unknown option --chekpoint; did you mean --checkpoint?"),
        (["job", "a.toml", "b"], "unexpected argument 'b'"),
        (["rnu"], "unknown command 'rnu'; did you mean run?"),
    ],
)
def test_a_misspelt_option_is_told_with_the_one_that_was_meant(arguments, answer):
    done = subprocess.run([sys.executable, "-m", "orchestrator", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert answer in done.stderr
    assert done.stderr.count("\n") == 1
