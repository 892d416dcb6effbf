"""`fronts.dask.get` computes Dask's graphs in a `Pool`. Dask's own tests of its processes scheduler: tests/peers."""

import concurrent.futures as cf
import functools
import operator
import os
import pickle
import signal
import subprocess
import sys
import traceback

import numpy as np
import psutil
import pytest
from support.waiting import Gate, Tally, until

from orchestrator import Executor, Pool, WorkerDiedError

dask = pytest.importorskip("dask")
from dask import bag, delayed  # noqa: E402
from dask.callbacks import Callback  # noqa: E402
from dask.order import order  # noqa: E402

from orchestrator.fronts.dask import get as orchestrator_get  # noqa: E402
from orchestrator.pool.sync.kept_results import KeptResults  # noqa: E402
from workers.sync.kept import Kept  # noqa: E402

LARGE = 1_000_000  # numbers of 8 bytes


def ones(n):
    return np.ones(n)


def total(*arrays):
    return float(sum(array.sum() for array in arrays))


def doubled_in_place(array):
    array *= 2
    return total(array)


def start():
    os.environ["STARTED"] = "yes"


def fail(*_):
    raise KeyError("missing") from ValueError("first")


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(tally, *_):
    tally.add()
    if tally.count == 1:
        die()
    return ones(LARGE)


def wait_and_count(gate, tally):
    gate.wait()
    tally.add()


class Unsendable:
    def __reduce__(self):
        raise pickle.PicklingError("it stays here")


class OddError(Exception):
    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


def fail_oddly():
    raise OddError(1, lambda: 2)


@pytest.fixture
def workers():
    with Pool(2) as pool:
        yield pool


@pytest.fixture
def get(workers):
    return functools.partial(orchestrator_get, pool=workers)


def graph_of_arrays(n=LARGE, parts=4):
    arrays = [delayed(ones)(n) for _ in range(parts)]
    sums = [delayed(operator.add)(a, b) for a, b in zip(arrays, arrays[1:] + arrays[:1], strict=True)]
    return delayed(total)(*sums)


def test_it_is_a_scheduler_by_argument_and_by_config():
    x = delayed(operator.add)(delayed(sum)([1, 2]), 3)
    assert dask.compute(x, scheduler=orchestrator_get, num_workers=2) == (6,)
    with dask.config.set(scheduler=orchestrator_get, num_workers=1):
        assert x.compute() == 6
        assert bag.range(100, npartitions=7).map(lambda n: n % 5).frequencies().compute() == [(n, 20) for n in range(5)]
    with Pool(2) as pool, dask.config.set(scheduler=orchestrator_get, pool=pool):
        assert x.compute() == 6
        assert pool.stats().items > 0
        assert pool.submit(abs, -1).result() == 1, "it stays open"


@pytest.mark.parametrize("options", [{}, {"chunksize": 1}, {"chunksize": 3}, {"chunksize": -1}, {"optimize_graph": False}])
def test_results_have_the_shape_of_the_keys(get, options):
    graph = {"x": 1, "y": (operator.add, "x", 1), "z": (operator.mul, "y", "y"), "a": (ones, LARGE), "b": (total, "a")}
    assert get(graph, "z", **options) == 4
    assert get(graph, ["x", ["y", ["z", "b"]], "y"], **options) == (1, (2, (4, LARGE)), 2)
    first, second = get(graph, ["a", "a"], **options)
    assert first is second
    assert first.flags.writeable


def test_arrays_between_tasks_do_not_pass_through_this_process(workers, get, monkeypatch):
    loaded = []
    load = Kept.load
    monkeypatch.setattr(Kept, "load", lambda kept: loaded.append(load(kept)) or loaded[-1])
    assert graph_of_arrays().compute(scheduler=get) == 4 * 2 * LARGE
    assert loaded == [4 * 2 * LARGE]
    stats = workers.stats()
    assert sum(map(sum, stats.lane_bytes.values())) + sum(stats.arena_bytes.values()) < LARGE


def test_an_array_of_the_graph_is_put_into_memory_once(get, monkeypatch):
    kept = []
    keep = KeptResults.keep
    monkeypatch.setattr(KeptResults, "keep", lambda self, obj: kept.append(type(obj)) or keep(self, obj))
    graph = {"a": np.ones(LARGE), **{("part", n): (total, "a") for n in range(20)}}
    assert get(graph, [("part", n) for n in range(20)]) == (LARGE,) * 20
    assert kept == [np.ndarray]


def test_what_a_task_changes_in_place_is_its_own(get):
    graph = {"a": (ones, LARGE), "b": (doubled_in_place, "a"), "c": (doubled_in_place, "a"), "d": (max, ["b", "c"])}
    assert get(graph, ["d", "b", "c"]) == (2 * LARGE, 2 * LARGE, 2 * LARGE)


@pytest.mark.parametrize("most", [0, 3])
def test_without_descriptors_results_pass_through_this_process(get, monkeypatch, most):
    monkeypatch.setattr("resource.getrlimit", lambda _: (2 * most, 2 * most))
    assert graph_of_arrays().compute(scheduler=get) == 4 * 2 * LARGE


def test_memory_is_freed_as_soon_as_nobody_needs_it(get):
    def files():
        return sum(file.path.startswith("/memfd:orchestrator-kept") for file in psutil.Process().memory_maps()), sum(
            os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:orchestrator-kept") for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")
        )

    most = []
    steps = {"0": (ones, LARGE), **{str(n): (operator.add, str(n - 1), 1) for n in range(1, 30)}}
    with Callback(pretask=lambda *_: most.append(files()[1])):
        result = get(steps, "29", optimize_graph=False)
    assert max(most) < 8
    assert files() == (1, 0)
    del result
    assert files() == (0, 0)


def test_a_failure_is_the_tasks_own_with_the_workers_traceback(get):
    with pytest.raises(KeyError) as caught:
        delayed(abs)(delayed(fail)()).compute(scheduler=get)
    assert type(caught.value) is KeyError
    assert caught.value.args == ("missing",)
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.count('raise KeyError("missing")') == 1
    assert "ValueError: first" in shown


@pytest.mark.parametrize(
    ("task", "kind"),
    [((fail_oddly,), Exception), ((Unsendable,), pickle.PicklingError), ((abs, Unsendable()), pickle.PicklingError), ((sys.exit, 3), SystemExit)],
)
def test_what_cannot_be_sent_is_an_error(get, task, kind):
    with pytest.raises(kind):
        get({"x": task}, "x")
    assert get({"x": (abs, -1)}, "x") == 1


def test_a_failure_calls_off_what_waits(tmp_path):
    gate, tally = Gate(tmp_path / "gate"), Tally(tmp_path / "tally")
    graph = {**dict.fromkeys(range(25), (wait_and_count, gate, tally)), "all": (list, list(range(25)))}
    first = min(range(25), key=order(graph).get)
    with Pool(1) as pool:
        with pytest.raises(KeyError):
            orchestrator_get({**graph, first: (fail,)}, "all", pool=pool)
        gate.open()
    assert tally.count < 20


def test_a_death_is_retried_and_then_told_with_the_tasks(get, tmp_path):
    tally = Tally(tmp_path / "deaths")
    assert get({"a": (die_once, tally), "b": (total, "a")}, "b") == LARGE
    assert tally.count == 2
    with pytest.raises(WorkerDiedError, match="SIGKILL") as caught:
        get({"a": (ones, LARGE), "deadly-task": (die, "a"), "c": (total, "deadly-task")}, "c", optimize_graph=False)
    assert "deadly-task" in "".join(caught.value.__notes__)
    assert get({"x": (abs, -1)}, "x") == 1


def inner(n):
    return bag.range(n, npartitions=3).map(operator.neg).sum().compute(scheduler=orchestrator_get, num_workers=2)


def test_a_task_may_compute():
    assert dask.compute(delayed(inner)(5), delayed(inner)(6), scheduler=orchestrator_get, num_workers=2) == (-10, -15)


def test_callbacks_are_told_results_and_the_workers_pid(get, workers):
    told = {}
    with Callback(posttask=lambda key, result, *_: told.update({key: (result, _[-1])})):
        get({"a": (ones, LARGE), "b": (total, "a")}, "b", optimize_graph=False)
    assert told["a"][0].sum() == told["b"][0] == LARGE
    assert {pid for _, pid in told.values()} <= {worker.pid for worker in workers.workers}


def test_a_cache_and_rerunning_locally_have_the_results_themselves(get):
    cache = {}
    assert get({"a": (ones, LARGE), "b": (total, "a")}, "b", optimize_graph=False, cache=cache) == LARGE
    assert cache["b"] == LARGE
    with pytest.raises(KeyError) as caught:
        get({"a": (ones, LARGE), "b": (fail, "a")}, "b", optimize_graph=False, rerun_exceptions_locally=True)
    assert caught.traceback[-1].name == "fail"


def test_own_pickling_is_used(get):
    used = []
    assert get({"x": (abs, -1)}, "x", func_dumps=lambda obj: used.append(obj) or pickle.dumps(obj)) == 1
    assert used
    with pytest.raises(KeyError, match="missing"):
        get({"x": (fail,)}, "x", func_loads=pickle.loads)
    assert get({"x": (abs, -1)}, "x", func_dumps=pickle.dumps, func_loads=pickle.loads) == 1


@pytest.mark.parametrize("kind", [Executor, cf.ThreadPoolExecutor])
def test_other_executors_are_dasks(kind):
    with kind(2) as executor:
        assert orchestrator_get({"x": (abs, -1)}, "x", pool=executor) == 1


def test_locks_are_those_of_processes():
    assert orchestrator_get == dask.multiprocessing.get
    assert len({orchestrator_get, dask.multiprocessing.get}) == 1
    assert pickle.loads(pickle.dumps(orchestrator_get)) is orchestrator_get


def test_an_initializer_runs_in_each_worker():
    with dask.config.set({"multiprocessing.initializer": start}):
        assert delayed(os.getenv)("STARTED").compute(scheduler=orchestrator_get, num_workers=1) == "yes"


SCRIPT = """
import sys
import dask
import numpy as np
from dask import delayed
from orchestrator.fronts.dask import get

class Point:
    def __init__(self, xs):
        self.xs = xs

def make(n):
    return Point(np.full(100_000, n)), lambda: OFFSET

def join(*parts):
    return sum(int(point.xs.sum()) + f() for point, f in parts)

OFFSET = 1
print(delayed(join)(*[delayed(make)(n) for n in range(4)]).compute(scheduler=get, num_workers=2))
if len(sys.argv) > 1:
    import time
    def block(path):
        open(path, "w").close()
        time.sleep(1000)
    try:
        delayed(block)(sys.argv[1]).compute(scheduler=get, num_workers=2)
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_classes_and_functions_of_the_main_module_travel_between_tasks(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "600004\n"
    assert not done.stderr


def test_ctrl_c_ends_the_computation(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, script, tmp_path / "runs"], stdout=subprocess.PIPE, text=True) as program:
        until((tmp_path / "runs").exists)
        below = psutil.Process(program.pid).children(recursive=True)
        program.send_signal(signal.SIGINT)
        assert program.communicate(timeout=60)[0] == "600004\ninterrupted\n"
    psutil.wait_procs(below, timeout=10)
    assert not [each for each in below if each.is_running()]
