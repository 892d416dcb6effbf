"""What a worker has of the program's process: the state of the moment when it is started, and random numbers of its own."""

import contextlib
import decimal
import gc
import importlib
import locale
import os
import random
import resource
import signal
import sys
import threading
import time
import warnings

import pytest

from orchestrator import ConfigError, ItemError, Pool, Stream, current
from orchestrator import run as orchestrate


def state(_):
    umask = os.umask(0)
    os.umask(umask)
    here = os.fstat(1)
    return (
        umask,
        os.nice(0),
        sorted(os.sched_getaffinity(0)),
        resource.getrlimit(resource.RLIMIT_CORE),
        os.environ.get("OF_NOW"),
        time.strftime("%z", time.gmtime(0)) and time.localtime(0).tm_hour,
        (here.st_dev, here.st_ino),
    )


@pytest.fixture
def changed_process(tmp_path, monkeypatch):
    """Another umask, affinity, limit, variable, zone and stdout than when the fork server was started."""
    Pool(1).close()
    monkeypatch.setenv("OF_NOW", "yes")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    umask, cpus, core = os.umask(0o027), os.sched_getaffinity(0), resource.getrlimit(resource.RLIMIT_CORE)
    os.sched_setaffinity(0, {min(cpus)})
    resource.setrlimit(resource.RLIMIT_CORE, (4096 if core[1] != 0 else 0, core[1]))
    yield
    os.umask(umask)
    os.sched_setaffinity(0, cpus)
    resource.setrlimit(resource.RLIMIT_CORE, core)
    monkeypatch.undo()
    time.tzset()


def test_a_worker_has_the_state_of_the_moment_when_it_is_started(changed_process, start_method, tmp_path):
    kept = os.dup(1)
    with open(tmp_path / "stdout", "wb") as file:
        os.dup2(file.fileno(), 1)
    try:
        with Pool(1, start_method=start_method) as pool:
            assert pool.submit(state, 0).result() == state(0)
            pool.submit(os.system, "echo from a child").result()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert (tmp_path / "stdout").read_text() == "from a child\n"


def of_the_interpreter(_=None):
    """Return all that a forked child would have of its parent's interpreter."""
    return {
        "recursion limit": sys.getrecursionlimit(),
        "switch interval": sys.getswitchinterval(),
        "digits of an int": sys.get_int_max_str_digits(),
        "gc": (gc.isenabled(), gc.get_threshold(), gc.get_debug()),
        "flags of libraries": sys.getdlopenflags(),
        "locale": locale.setlocale(locale.LC_ALL),
        "warnings": [
            (action, getattr(text, "pattern", text), kind, getattr(module, "pattern", module), line)
            for action, text, kind, module, line in warnings.filters
            if kind.__module__ == "builtins"
        ],
        "decimals": (repr(decimal.getcontext()), repr(decimal.DefaultContext)),
        "signals": [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR1)],
        "folder": os.getcwd(),
        "path": sys.path[-1],
        "arguments": sys.argv[-1],
    }


@contextlib.contextmanager
def signal_set(number, disposition):
    before = signal.signal(number, disposition)
    yield
    signal.signal(number, before)


@contextlib.contextmanager
def warning_filters():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "never .* seen", RuntimeWarning, r"no\.module")
        warnings.simplefilter("always", BytesWarning, append=True)
        yield


@contextlib.contextmanager
def decimals():
    default = decimal.DefaultContext.prec
    decimal.DefaultContext.prec = 41
    with decimal.localcontext() as context:
        context.prec, context.rounding, context.traps[decimal.Inexact] = 50, decimal.ROUND_UP, True
        yield
    decimal.DefaultContext.prec = default


@contextlib.contextmanager
def value_set(read, put, value):
    before = read()
    put(value)
    yield
    put(before)


def gc_enabled(wanted):
    (gc.enable if wanted else gc.disable)()


CHANGES = {
    "recursion limit": lambda: value_set(sys.getrecursionlimit, sys.setrecursionlimit, 2500),
    "switch interval": lambda: value_set(sys.getswitchinterval, sys.setswitchinterval, 0.0625),
    "digits of an int": lambda: value_set(sys.get_int_max_str_digits, sys.set_int_max_str_digits, 0),
    "gc disabled": lambda: value_set(gc.isenabled, gc_enabled, False),
    "gc thresholds": lambda: value_set(gc.get_threshold, lambda given: gc.set_threshold(*given), (900, 7, 5)),
    "flags of libraries": lambda: value_set(sys.getdlopenflags, sys.setdlopenflags, os.RTLD_NOW | os.RTLD_GLOBAL),
    "locale": lambda: value_set(
        lambda: locale.setlocale(locale.LC_ALL), lambda given: locale.setlocale(locale.LC_ALL, given), "C"
    ),
    "warnings": warning_filters,
    "decimals": decimals,
    "a signal ignored": lambda: signal_set(signal.SIGHUP, signal.SIG_IGN),
    "another one ignored": lambda: signal_set(signal.SIGUSR1, signal.SIG_IGN),
    "a signal not ignored": lambda: signal_set(signal.SIGPIPE, signal.SIG_DFL),
    "folder": lambda: contextlib.chdir("/"),
    "path": lambda: value_set(lambda: list(sys.path), lambda given: sys.path.__setitem__(slice(None), given), [*sys.path, "/x"]),
    "arguments": lambda: value_set(lambda: sys.argv, lambda given: setattr(sys, "argv", given), ["program", "--flag"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_worker_has_what_a_forked_child_would_have_of_the_interpreter(change, start_method):
    Pool(1).close()  # the fork server has run since before
    before = of_the_interpreter()
    with CHANGES[change]():
        wanted = of_the_interpreter()
        assert wanted != before
        with Pool(1, start_method=start_method) as pool:
            assert pool.submit(of_the_interpreter).result() == wanted
    assert of_the_interpreter() == before


def decimals_in_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(decimal.getcontext().prec))
    thread.start()
    thread.join()
    return found[0]


def test_replaced_workers_and_their_threads_have_it_too(start_method):
    with decimals(), Pool(1, start_method=start_method, items_per_worker=1) as pool:
        assert [pool.submit(lambda: decimal.getcontext().prec).result() for _ in range(3)] == [50] * 3
        assert pool.submit(decimals_in_thread).result() == 41


def test_the_recursion_limit_lets_a_deep_function_run_in_a_worker(start_method):
    def depth(n):
        return n and 1 + depth(n - 1)

    with value_set(sys.getrecursionlimit, sys.setrecursionlimit, 5000), Pool(1, start_method=start_method) as pool:
        assert list(pool.map(depth, [3000])) == [3000]


def drawn(_):
    found = [random.random()]
    try:
        import numpy as np
    except ImportError:
        return found
    return [*found, np.random.random()]  # noqa: NPY002


def test_random_numbers_differ_in_each_worker_and_incarnation(start_method):
    import numpy.random  # noqa: F401 - loaded here, it is loaded in the fork server too

    with Pool(2, start_method=start_method, items_per_worker=1) as pool:
        seen = list(pool.map(drawn, range(6), chunk=1))
    assert len({number for numbers in seen for number in numbers}) == 12


def pid_and_numbers(x):
    import numpy as np

    return x, random.random(), np.random.random(), np.random.default_rng(current().seed).random()  # noqa: NPY002


@pytest.mark.parametrize("options", [{"workers": 3}, {"workers": 1, "items_per_worker": 4}, {"workers": 2, "chunk": 7}])
def test_a_seed_makes_them_the_same_for_an_item_wherever_it_runs(options):
    chunk = options.pop("chunk", "auto")
    with Pool(2, seed=7) as pool:
        expected = list(pool.map(pid_and_numbers, range(40)))
        second = list(pool.map(pid_and_numbers, range(40)))
        submitted = [pool.submit(pid_and_numbers, x).result() for x in range(3)]
    assert len({numbers[1] for numbers in expected + second}) == 80
    with Pool(seed=7, **options) as pool:
        assert list(pool.map(pid_and_numbers, range(40), chunk=chunk)) == expected
        assert sorted(pool.map(pid_and_numbers, range(40), ordered=False)) == second
        assert [pool.submit(pid_and_numbers, x).result() for x in range(3)] == submitted
    with Pool(2, seed=8) as pool:
        assert not {n[1] for n in pool.map(pid_and_numbers, range(40))} & {n[1] for n in expected}


def fail_once(x):
    numbers = pid_and_numbers(x)
    if current().attempt == 1 and x % 5 == 0:
        raise ValueError(x)
    return numbers


def test_a_retry_draws_what_the_first_try_drew():
    with Pool(2, seed=1) as pool:
        assert list(pool.map(fail_once, range(30), retries=1)) == list(Pool(1, seed=1).map(pid_and_numbers, range(30)))


def test_a_seed_holds_in_streams():
    def run(workers):
        with Pool(workers, seed=3) as pool:
            found = []
            orchestrate(Stream(range(50)).filter(lambda x: x % 2).map(pid_and_numbers).to(found), pool=pool)
            return found

    assert run(1) == run(3)


def goes_on(numbers):
    if str(numbers[0]) == os.environ.get("STOPS_AT"):
        raise InterruptedError
    return repr(numbers)


def test_a_seed_holds_in_a_resumed_run(tmp_path, monkeypatch):
    def drawn(name):
        stream = Stream(range(400)).map(pid_and_numbers, chunk=10).map_inline(goes_on).to(str(tmp_path / f"{name}.txt"))
        with Pool(2, seed=3) as pool:
            orchestrate(stream, pool=pool, checkpoint=tmp_path / name, checkpoint_every_s=0.01)
        return (tmp_path / f"{name}.txt").read_text()

    with monkeypatch.context() as less, pytest.raises(ItemError, match="InterruptedError"):
        less.setenv("STOPS_AT", "300")
        drawn("stopped")
    assert drawn("stopped") == drawn("whole")


def thread_variables(_):
    return {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def test_each_worker_has_its_share_of_threads(start_method, monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ENABLE_IPC"):
        monkeypatch.delenv(name, raising=False)
    share = str(max(1, len(os.sched_getaffinity(0)) // 2))
    with Pool(2, start_method=start_method) as pool:
        assert set(pool.submit(thread_variables, 0).result().values()) == {share}
    with Pool(2, start_method=start_method, threads_per_worker=3) as pool:
        assert set(pool.submit(thread_variables, 0).result().values()) == {"3"}
        assert pool.submit(os.getenv, "ENABLE_IPC").result() == "1"  # TBB's threads: shared by all processes
    with Pool(2, start_method=start_method, threads_per_worker=0) as pool:
        assert set(pool.submit(thread_variables, 0).result().values()) == {None}
        assert pool.submit(os.getenv, "ENABLE_IPC").result() is None
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with Pool(2, start_method=start_method) as pool:
        found = pool.submit(thread_variables, 0).result()
    assert found == {"OMP_NUM_THREADS": "5", "OPENBLAS_NUM_THREADS": None, "MKL_NUM_THREADS": None}


def variables(_):
    return [os.environ.get(name) for name in ("GIVEN", "UNSET", "OMP_NUM_THREADS", "TZ")], time.localtime(0).tm_hour, os.getpid()


def import_there(name):
    return importlib.import_module(name).at_import(0)


def test_a_pool_has_variables_of_its_own(start_method, monkeypatch, tmp_path):
    """Workers, and those that replace them, have them before they import anything; the program does not."""
    (tmp_path / "looks_at_import.py").write_text("import os\nGIVEN = os.environ.get('GIVEN')\ndef at_import(_): return GIVEN\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("UNSET", "here")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    given = {"GIVEN": "\udcff = ä", "UNSET": None, "OMP_NUM_THREADS": "7", "TZ": "Asia/Tokyo"}
    with Pool(1, start_method=start_method, env=given, threads_per_worker=2, items_per_worker=2) as pool:
        given["GIVEN"] = "changed later"
        found = list(pool.map(variables, range(5), chunk=1))
        seen = pool.submit(import_there, "looks_at_import").result()
    assert [each[:2] for each in found] == [(["\udcff = ä", None, "7", "Asia/Tokyo"], 9)] * 5
    assert seen == "\udcff = ä"
    assert len({pid for *_, pid in found}) >= 2
    assert "GIVEN" not in os.environ
    assert os.environ["UNSET"] == "here"


@pytest.mark.parametrize("wrong", [["A"], "A=1", {1: "x"}, {"A": 1}, {"A=B": "x"}, {"": "x"}, {"A": "\0"}, {"\0": "x"}, {"A": "\ud800"}])
def test_variables_that_no_process_could_have_are_refused(wrong):
    with pytest.raises(ConfigError, match="env"):
        Pool(1, env=wrong)


def blas_threads(_):
    import ctypes

    import numpy as np

    np.ones((2, 2)) @ np.ones((2, 2))
    with open("/proc/self/maps") as maps:
        paths = {line.split()[-1] for line in maps if "openblas" in line}
    for path in paths:
        for name in ("scipy_openblas_get_num_threads64_", "openblas_get_num_threads64_", "openblas_get_num_threads"):
            asked = getattr(ctypes.CDLL(path), name, None)
            if asked is not None:
                return asked()
    return None


def test_a_library_that_is_loaded_already_keeps_to_it_too(start_method):
    if blas_threads(0) is None:
        pytest.skip("numpy has no OpenBLAS here")
    with Pool(1, start_method=start_method, threads_per_worker=1) as one:
        assert one.submit(blas_threads, 0).result() == 1
    with Pool(1, start_method=start_method, threads_per_worker=2) as two:
        assert two.submit(blas_threads, 0).result() == 2
