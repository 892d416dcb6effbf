"""`orchestrator.fronts.joblib`: joblib's `Parallel` over our pool gives what it gives over loky, and survives more."""

import multiprocessing
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from support.waiting import until

joblib = pytest.importorskip("joblib")
from concurrent.futures.process import BrokenProcessPool  # noqa: E402

from joblib import Parallel, delayed  # noqa: E402
from joblib.externals.loky.process_executor import TerminatedWorkerError  # noqa: E402

from orchestrator import WorkerDiedError  # noqa: E402
from orchestrator.fronts import joblib as front  # noqa: E402

LARGE = 300_000
"""Items of 8 bytes: more than joblib's limit, from which on arrays are shared."""


@pytest.fixture(autouse=True)
def orchestrator():
    """All of joblib runs on our backend, whose pool ends with the test."""
    with joblib.parallel_config(backend="orchestrator", n_jobs=2):
        yield
    front.shutdown()


def square(x):
    return x * x


def fails_at_three(x):
    if x == 3:
        raise LookupError(x)
    return x


def pids(n=2, **options):
    return set(Parallel(**options)(delayed(slow_pid)() for _ in range(4 * n)))


def slow_pid():
    time.sleep(0.05)
    return os.getpid()


@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_results(return_as):
    """Results come as a list, or as they are ready, in order or not."""
    found = Parallel(return_as=return_as)(delayed(square)(i) for i in range(200))
    if return_as != "list":
        assert next(found) in {i * i for i in range(200)}
        found = [0, *found]
    assert sorted(found)[-100:] == [i * i for i in range(100, 200)]


def test_keyword_arguments_and_several_functions():
    """A batch of different calls runs as one of calls that are alike."""
    calls = [delayed(pow)(2, 3), delayed(int)("11", base=2), delayed(lambda: "local")(), delayed(pow)(2, 4)] * 5
    assert Parallel(batch_size=4)(calls) == [8, 3, "local", 16] * 5


def test_an_exception_is_the_functions_own():
    """What the function raises has its type and arguments, its cause is the worker's traceback."""
    with pytest.raises(LookupError, match="3") as caught:
        Parallel()(delayed(fails_at_three)(i) for i in range(10))
    assert "fails_at_three" in str(caught.value.__cause__)
    assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]


class Unpicklable:
    def __reduce__(self):
        raise OSError("not me")


class Unloadable:
    def __reduce__(self):
        return int, ("no number",)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (delayed(id)(Unpicklable()), pickle.PicklingError),
        (delayed(Unpicklable)(), OSError),
        (delayed(Unloadable)(), BrokenProcessPool),
        (delayed(id)(Unloadable()), BrokenProcessPool),
        (delayed(sys.exit)(3), SystemExit),
    ],
)
def test_what_cannot_be_sent_fails_its_call(call, error):
    """An argument or result that can't be pickled or unpickled raises at once, and the backend stays usable."""
    with pytest.raises(error):
        Parallel()([call, delayed(square)(1)])
    assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]


# ---- arrays -----------------------------------------------------------------------------------------------------


def look(array, other=None):
    if other is not None:
        array = other["x"]
    place = os.stat(f"/proc/self/map_files/{mapping(array)}").st_ino if mapping(array) else None
    return type(array), array.flags.writeable, float(array[-1]), place


def mapping(array):
    start = array.__array_interface__["data"][0]
    for line in pathlib.Path("/proc/self/maps").read_text().splitlines():
        span = line.split()[0]
        low, high = (int(bound, 16) for bound in span.split("-"))
        if low <= start < high and "orchestrator-joblib" in line:
            return span
    return None


def descriptors():
    found = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    return [os.readlink(path) for path in found if os.path.islink(path) and "orchestrator-joblib" in os.readlink(path)]


def test_large_arrays_are_read_only_maps_of_one_copy():
    """An array above `max_nbytes` is written once a call, wherever it stands in the arguments, and freed after it."""
    array = np.arange(float(LARGE))
    found = Parallel(batch_size=1)(delayed(look)(array, {"x": array} if i % 2 else None) for i in range(6))
    assert {each[:3] for each in found} == {(np.memmap, False, LARGE - 1.0)}
    assert len({inode for *_, inode in found}) == 1
    assert None not in {inode for *_, inode in found}
    assert until(lambda: not descriptors())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"mmap_mode": None}, (np.ndarray, True)),
        ({"max_nbytes": None}, (np.ndarray, True)),
        ({"max_nbytes": "10M"}, (np.ndarray, True)),
        ({"mmap_mode": "c"}, (np.memmap, True)),
        ({"mmap_mode": "r+"}, (np.memmap, True)),
        ({"mmap_mode": "w+"}, (np.memmap, True)),
    ],
)
def test_mmap_mode_and_max_nbytes(options, expected):
    """joblib's options say which arrays are mapped, and how."""
    [found] = Parallel(**options)([delayed(look)(np.arange(float(LARGE)))])
    assert found[:3] == (*expected, LARGE - 1.0)


def add_one(array):
    array += 1
    return float(array[0])


def test_writes_to_a_map():
    """With "r+" workers share what they write, with "c" nobody sees it, with "r" it is refused."""
    array = np.zeros(LARGE)
    assert sorted(Parallel(mmap_mode="r+", batch_size=1, pre_dispatch=1)(delayed(add_one)(array) for _ in range(3))) == [1, 2, 3]
    assert Parallel(mmap_mode="c", batch_size=1)(delayed(add_one)(array) for _ in range(3)) == [1, 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        Parallel()(delayed(add_one)(array) for _ in range(3))
    assert array[0] == 0


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(float(LARGE)).reshape(3, -1)),
        np.arange(float(LARGE)).reshape(3, -1)[:, ::2],
        np.arange(LARGE).astype("M8[s]"),
        np.zeros(LARGE, dtype=[("a", "i4"), ("b", "f8")]),
        np.arange(LARGE).astype("S8"),
        np.array([None, {}] * LARGE, dtype=object)[: LARGE // 4],
        np.arange(float(LARGE))[::-1],
    ],
    ids=["fortran", "strided", "dates", "records", "bytes", "objects", "reversed"],
)
def test_every_kind_of_array_comes_back_as_it_was(array):
    """Layouts and types survive both ways, and a result is a plain array."""
    for found in Parallel(max_nbytes=1000)(delayed(np.asanyarray)(array) for _ in range(2)):
        assert type(found) is np.ndarray
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
        assert found.flags.f_contiguous == array.flags.f_contiguous or not array.flags.forc


def arrays(n):
    for i in range(n):
        yield np.full(LARGE, float(i))


def last(array):
    return float(array[-1])


def test_arrays_that_are_dropped_at_once():
    """Arrays that only the generator of the calls held are right, though their memory is used again."""
    assert Parallel(batch_size=1)(delayed(last)(array) for array in arrays(40)) == list(range(40))
    assert until(lambda: not descriptors())


def set_last(array, value):
    array[-1] = value
    return type(array)


def test_the_programs_own_memmaps_go_by_name(tmp_path):
    """What workers write into a memmap, or into an array that is part of one, reaches its file."""
    array = np.memmap(tmp_path / "array", np.float64, "w+", shape=(4, 100))
    found = Parallel()([delayed(set_last)(array[1], 1.0), delayed(set_last)(np.asarray(array)[2], 2.0)])
    assert found == [np.memmap, np.memmap]
    assert array[1:3, -1].tolist() == [1.0, 2.0]


# ---- failures ---------------------------------------------------------------------------------------------------


def die_once(path):
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "lived"


def test_a_worker_that_dies_once_costs_nothing(tmp_path):
    """The batch of a killed worker runs again in another."""
    assert Parallel()(delayed(die_once)(str(tmp_path / "died")) for _ in range(4)) == ["lived"] * 4


@pytest.mark.parametrize("options", [{}, {"max_deaths": 1}])
def test_a_call_that_kills_its_workers(options):
    """It raises loky's error, whose cause says what happened, and the backend stays usable."""
    with pytest.raises(TerminatedWorkerError, match="SIGKILL") as caught:
        Parallel(**options)([delayed(os.kill)(0, 0), delayed(kill_itself)()])
    assert isinstance(caught.value, front.TerminatedWorkerError)
    assert isinstance(caught.value.__cause__, WorkerDiedError)
    assert "kill_itself" in str(caught.value)
    assert Parallel(**options)(delayed(square)(i) for i in range(3)) == [0, 1, 4]


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def refuses():
    raise OSError("no database")


def test_workers_that_cannot_start():
    """An initializer that raises breaks its pool, each time it is asked for, and no other."""
    for _ in range(2):
        with pytest.raises(BrokenProcessPool, match="initializer failed") as caught:
            Parallel(initializer=refuses)(delayed(square)(i) for i in range(3))
        assert isinstance(caught.value.__cause__, OSError)
    assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]


def sleeps(path, seconds=60):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(seconds)


def has_begun(path):
    return path.exists() and path.read_text()


def is_gone(path):
    return not (has_begun(path) and os.path.exists(f"/proc/{path.read_text()}"))


def test_a_timeout_ends_what_runs(tmp_path):
    """`timeout` raises TimeoutError, and kills the worker that is in the call."""
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=2)([delayed(sleeps)(str(tmp_path / "pid"))] * 1)
    assert until(lambda: is_gone(tmp_path / "pid"))
    assert Parallel(timeout=60)(delayed(square)(i) for i in range(3)) == [0, 1, 4]


def test_a_failed_call_ends_only_its_own(tmp_path):
    """Calls of another `Parallel` on the same pool and backend continue, also those whose worker was killed."""
    others = Parallel(return_as="generator", batch_size=1)(delayed(time.sleep)(0.1) for _ in range(10))
    with pytest.raises(LookupError):
        Parallel(batch_size=1)(delayed(fails_at_three)(i) for i in range(10))
    assert list(others) == [None] * 10


def test_a_dropped_generator_ends_its_calls(tmp_path):
    """Nothing of a generator that is dropped is run to its end; joblib warns of it."""
    found = Parallel(return_as="generator", batch_size=1)(delayed(sleeps)(str(tmp_path / "pid")) for _ in range(1))
    assert until(lambda: has_begun(tmp_path / "pid"))
    with pytest.warns(UserWarning, match="have been cancelled"):
        del found
    assert until(lambda: is_gone(tmp_path / "pid"))


def test_an_interrupt_ends_what_runs(tmp_path):
    """Ctrl-C is raised in the program, and nothing of the `Parallel` runs on."""

    def interrupt():
        until(lambda: has_begun(tmp_path / "pid"))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        Parallel()([delayed(sleeps)(str(tmp_path / "pid"))])
    thread.join()
    assert until(lambda: is_gone(tmp_path / "pid"))
    assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]


# ---- nesting ----------------------------------------------------------------------------------------------------


def nested(backend):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        parallel = Parallel(n_jobs=2, backend=backend)
        found = parallel(delayed(os.getpid)() for _ in range(4))
    front.shutdown()
    return type(parallel._backend).__name__, {*found} == {os.getpid()}, [str(each.message) for each in warned]


def test_nesting():
    """A `Parallel` within a worker uses threads; one that asks for our backend by name gets workers of its own."""
    assert Parallel()([delayed(nested)(None)]) == [("ThreadingBackend", True, [])]
    assert Parallel()([delayed(nested)("orchestrator")]) == [("OrchestratorBackend", False, [])]
    with pytest.warns(UserWarning, match="backed parallel loops cannot be nested below threads"):
        found = Parallel(backend="threading")(delayed(square_in_parallel)(i) for i in range(3))
    assert found == [[0], [1], [4]]


def square_in_parallel(x):
    return Parallel(n_jobs=2, backend="orchestrator")([delayed(square)(x)])


@pytest.mark.parametrize("threads", [1, 3])
def test_inner_threads(threads):
    """`inner_max_num_threads` limits BLAS and OpenMP in the workers."""
    with joblib.parallel_config(backend="orchestrator", n_jobs=2, inner_max_num_threads=threads):
        assert set(Parallel()(delayed(os.getenv)("OMP_NUM_THREADS") for _ in range(3))) == {str(threads)}


# ---- the pool ---------------------------------------------------------------------------------------------------


def test_the_pool_is_kept():
    """The next `Parallel` finds the same workers, and as many as it asks for."""
    first = pids()
    assert len(first) == 2
    assert pids() == first
    assert first < pids(4, n_jobs=4)
    with Parallel(n_jobs=2) as parallel:
        assert len(set(parallel(delayed(slow_pid)() for _ in range(8)))) == 2


def test_other_options_make_another_pool(monkeypatch):
    """Workers that were made for something else are ended, not used."""
    first = pids()
    second = pids(initializer=square, initargs=(np.arange(3),))
    assert not first & second
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert set(Parallel()(delayed(os.getenv)("OMP_NUM_THREADS") for _ in range(3))) == {"7"}
    assert until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in first | second))


def test_an_idle_pool_ends():
    """Workers end when there was no `Parallel` for `idle_worker_timeout` seconds, not while there is one."""
    found = pids(idle_worker_timeout=0.2)
    assert until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in found))
    with Parallel(idle_worker_timeout=0.1) as parallel:
        first = set(parallel(delayed(slow_pid)() for _ in range(8)))
        time.sleep(0.5)
        assert set(parallel(delayed(slow_pid)() for _ in range(8))) == first


def test_options_are_checked():
    """What is no option of the pool, or not joblib's way to say it, is refused."""
    with pytest.raises(ValueError, match="idle_worker_timeout"):
        front.OrchestratorBackend(nesting_level=0, timeout=3).configure(2)
    with pytest.raises(TypeError, match="nonsense"):
        Parallel(nonsense=3)([delayed(square)(1)])
    with pytest.raises(ValueError, match="n_jobs == 0"):
        Parallel(n_jobs=0)([delayed(square)(1)])
    assert joblib.effective_n_jobs(3) == 3
    assert joblib.effective_n_jobs(-1) == joblib.cpu_count()


SCRIPT = """
import multiprocessing, sys, time
from joblib import Parallel, delayed
import orchestrator.fronts.joblib

def double(x):
    return 2 * x

class Number:
    def __init__(self, x):
        self.x = x
    def half(self):
        return self.x / 2

def in_a_pool(x):
    with orchestrator.Pool(1) as pool:
        return pool.submit(abs, x).result()

multiprocessing.get_logger()  # puts multiprocessing's exit function, which waits for children, first
print(Parallel(2, backend="orchestrator")(delayed(double)(i) for i in range(4)))
print(Parallel(2, backend="orchestrator")(delayed(Number(i).half)() for i in range(4)))
print(Parallel(2, backend="loky")(delayed(in_a_pool)(-i) for i in range(2)))
left = Parallel(2, backend="orchestrator", return_as="generator", batch_size=1)(delayed(time.sleep)(0.01) for i in range(1000))
next(left)
"""


def test_a_program_ends(tmp_path):
    """Functions and classes of `__main__` work, a pool in a worker of loky too, and the exit is quick and silent, though a generator is left."""
    (tmp_path / "program.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines() == ["[0, 2, 4, 6]", "[0.0, 0.5, 1.0, 1.5]", "[0, 1]"]
    assert (done.returncode, [line for line in done.stderr.splitlines() if "warn" not in line.lower()]) == (0, [])


def test_a_forked_child_has_a_pool_of_its_own():
    """A child that is forked while the pool is there makes its own."""
    Parallel()(delayed(square)(i) for i in range(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        code = 1
        try:
            code = Parallel()(delayed(square)(i) for i in range(3)) != [0, 1, 4]
            front.shutdown()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert front._reused.pool is not None


# ---- scikit-learn -------------------------------------------------------------------------------------------------


def test_scikit_learn():
    """`n_jobs` of a forest and of a cross-validation give what one job gives."""
    pytest.importorskip("sklearn")
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_score

    x, y = make_classification(500, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forest = RandomForestClassifier(6, n_jobs=2, random_state=0)
        found = cross_val_score(forest, x, y, cv=3, n_jobs=2)
        alone = cross_val_score(forest.set_params(n_jobs=1), x, y, cv=3, n_jobs=1)
    assert found.tolist() == alone.tolist()
