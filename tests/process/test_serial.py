"""All engines side by side: the same maps and graphs give the same; what one can't do is refused by name."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from functools import partial

import pytest
from support.engines import EVERY, able, pool_of
from support.random_graphs import RandomGraph, ResumableGraph, within_deadline

import workers
from orchestrator import ConfigError, Failure, ItemError, Pool, Stream, Workflow, run
from orchestrator.pool.engines import ENGINES

GRAPHS = 10


@pytest.fixture(scope="module", params=EVERY)
def pool(request):
    with pool_of(request) as pool:
        yield pool


@pytest.fixture(params=EVERY)
def fresh_pool(request):
    with pool_of(request) as pool:
        yield pool


@pytest.fixture
def serial():
    with Pool(engine="serial") as pool:
        yield pool


def fails_at_3(x):
    if x == 3:
        raise ValueError("no 3")
    return x


def second_time(x):
    if x % 3 == 0 and workers.current().attempt == 1:
        raise OSError("not yet")
    return x + 1


def above(limit, x):
    return x > limit


def of_a_pool_of_its_own(x):
    with Pool(1) as inner:
        future = inner.submit(slowly, x)
    return future.result()  # closed, not cut short


def slowly(x):
    time.sleep(1)  # longer than a signal handler would give it
    return x


# ---- beside the local engine ----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, "auto"])
@pytest.mark.parametrize("ordered", [True, False])
def test_maps(pool, ordered, chunk):
    results = list(pool.map(second_time, range(40), ordered=ordered, chunk=chunk, retries=1))
    assert (results if ordered else sorted(results)) == list(range(1, 41))
    assert sorted(pool.map(pow, range(9), [2] * 9, ordered=ordered, chunk=chunk)) == [n * n for n in range(9)]
    assert list(pool.map(fails_at_3, range(6), on_error="skip", chunk=chunk)) == [0, 1, 2, 4, 5]


def test_errors_and_dead_letters(pool):
    letters, got = [], []
    with pytest.raises(ItemError, match="item 3") as caught:
        got.extend(pool.map(fails_at_3, range(6), chunk=1))
    assert isinstance(caught.value.__cause__, ValueError)
    results = list(pool.map(fails_at_3, range(6), on_error="return", retries=2, dead_letters=letters.append))
    assert [each for each in results if not isinstance(each, Failure)] == [0, 1, 2, 4, 5]
    assert (results[3].attempts, letters[0].attempts, letters[0].item) == (3, 3, 3)


def test_workflows_barriers_and_futures(fresh_pool):
    pool = fresh_pool
    workflow = Workflow().step("more", second_time).barrier().step("none of 7", partial(above, 7))
    assert list(pool.map(workflow, range(1, 3))) == [False, False]
    assert [pool.submit(pow, 2, n).result() for n in range(5)] == [1, 2, 4, 8, 16]
    assert isinstance(pool.submit(fails_at_3, 3).exception(), ValueError)
    if able(pool, "supersteps"):
        assert set(pool.run_on_all(os.getpid)) == {info.pid for info in pool.workers}
    else:
        with pytest.raises(ConfigError, match="no supersteps"):
            pool.run_on_all(os.getpid)


@pytest.mark.parametrize("buffer_bytes", ["100K", "256M"])
def test_random_graphs(buffer_bytes):
    with Pool(engine="serial", buffer_bytes=buffer_bytes) as pool:
        for seed in range(7000, 7000 + GRAPHS):
            within_deadline(lambda seed=seed: RandomGraph(seed, in_workers=True, calm=False).run(pool), seed)


def test_checkpoints_and_resume(tmp_path, serial):
    for seed in range(6):
        folder = tmp_path / str(seed)
        folder.mkdir()
        within_deadline(lambda seed=seed, at=folder: ResumableGraph(seed, in_workers=True, calm=False).run_in(str(at), serial), seed)


def test_random_numbers_are_those_of_workers():
    drawn = []
    for engine in ENGINES:
        before = random.getstate()
        with Pool(1, engine=engine, seed=7) as pool:
            drawn.append(list(pool.map(draw, range(20))))
        assert random.getstate() == before
    assert drawn[0] == drawn[1]


def draw(_):
    return random.random(), workers.current().seed


# ---- what it is for -------------------------------------------------------------------------------------------


def test_nothing_is_pickled_or_copied(serial):
    lock, seen = threading.Lock(), []
    held = [lock]
    assert next(serial.map(lambda item: seen.append(item) or item, iter([held]))) is held
    assert seen[0] is held
    assert serial.submit(lambda: lock).result() is lock
    assert Stream([lock]).map(lambda item: item).collect(engine="serial") == [lock]


def test_functions_run_in_this_thread_one_item_at_a_time(serial):
    order = []
    for result in serial.map(lambda x: order.append(("in", x)) or threading.get_ident(), range(3)):
        order.append("out")
        assert result == threading.get_ident()
    assert order == [("in", 0), "out", ("in", 1), "out", ("in", 2), "out"]


def test_exceptions_are_themselves_with_their_frames(serial):
    mistake = ValueError("mine")

    def fails(_):
        raise mistake

    with pytest.raises(ItemError) as caught:
        list(serial.map(fails, [1]))
    assert caught.value.__cause__ is mistake
    assert traceback.extract_tb(mistake.__traceback__)[-1].name == "fails"


def test_ctrl_c_ends_the_map_and_the_pool_goes_on(serial):
    with pytest.raises(KeyboardInterrupt):
        list(serial.map(lambda _: signal.raise_signal(signal.SIGINT), range(3), on_error="skip"))
    with pytest.raises(KeyboardInterrupt):
        serial.submit(signal.raise_signal, signal.SIGINT)
    assert list(serial.map(abs, [-1])) == [1]
    assert serial.submit(abs, -2).result() == 2


def test_initializer_and_finalizer_run_once():
    done = []
    with Pool(engine="serial", initializer=done.append, initargs=("begun",), finalizer=lambda: done.append("over")) as pool:
        assert list(pool.map(lambda x: x, range(3))) == [0, 1, 2]
        assert done == ["begun"]
    assert done == ["begun", "over"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [("max_deaths", 1), ("memory_limit", "1G"), ("memfree", 1), ("items_per_worker", 3), ("threads_per_worker", 1), ("env", {"A": "1"}), ("start_method", "spawn")],
)
def test_what_it_cannot_do_is_refused_by_name(argument, value):
    with pytest.raises(ConfigError, match=f"serial engine .* {argument}"):
        Pool(engine="serial", **{argument: value})


def test_what_a_call_asks_for_is_refused_by_name(serial):
    with pytest.raises(ConfigError, match="timeout"):
        serial.map(abs, [1], timeout=1)
    with pytest.raises(ConfigError, match="resize"):
        serial.resize(2)
    with pytest.raises(ConfigError, match="one of local, serial"):
        Pool(engine="cereal")
    with pytest.raises(ConfigError, match="exclude each other"):
        run(Stream([1]).to([]), pool=serial, engine="serial")


# ---- the command ----------------------------------------------------------------------------------------------


def command(folder, *arguments, said=""):
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments], cwd=folder, input=said, text=True, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text("def f(line):\n    breakpoint()\n    return line.upper()\n\n\ndef g(line):\n    print('saw', line)\n    return line.upper()\n")
    (tmp_path / "in.txt").write_text("a\nb\n")
    (tmp_path / "job.toml").write_text('[source.s]\nread = ["in.txt"]\n[step.t]\nfrom = "s"\nmap = "mine.py:g"\n[sink.o]\nfrom = "t"\nwrite = "out.txt"\n[pool]\nengine = "serial"\n')
    return tmp_path


def test_breakpoint_in_a_run_has_the_terminal(folder):
    done = command(folder, "run", "mine.py:f", "in.txt", "-o", "out.txt", "--engine", "serial", said="p line * 3\nc\nc\n")
    assert done.returncode == 0, done.stderr
    assert "'aaa'" in done.stdout
    assert (folder / "out.txt").read_text() == "A\nB\n"


def test_a_function_closes_a_pool_of_its_own_as_everybody_does(fresh_pool):
    assert list(fresh_pool.map(of_a_pool_of_its_own, [3])) == [3]


def test_a_dry_run_tells_the_engine(folder):
    done = command(folder, "run", "mine.py:g", "in.txt", "--engine", "serial", "--dry-run")
    assert "workers:      those of the serial engine\n" in done.stdout


def test_prints_keep_out_of_results_on_stdout(folder):
    done = command(folder, "run", "mine.py:g", "in.txt", "--engine", "serial", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "A\nB\n", "saw a\nsaw b\n")


@pytest.mark.parametrize("arguments", [(), ("--engine", "serial"), ("--engine", "local")])
def test_a_job_has_an_engine(folder, arguments):
    done = command(folder, "job", "job.toml", "-q", *arguments)
    assert (done.returncode, done.stdout) == (0, "saw a\nsaw b\n"), done.stderr
    assert (folder / "out.txt").read_text() == "A\nB\n"


@pytest.mark.parametrize("flag", [("--timeout", "2"), ("--mem-per-worker", "1G"), ("--items-per-worker", "2"), ("--start-method", "spawn")])
def test_flags_that_it_cannot_keep_to_are_refused(folder, flag):
    done = command(folder, "run", "mine.py:g", "in.txt", "--engine", "serial", *flag)
    assert done.returncode == 2
    assert flag[0] in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_exec_has_no_engine_but_its_own(folder):
    done = command(folder, "exec", "echo {}", "--engine", "serial", ":::", "1")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
