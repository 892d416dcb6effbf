"""What users write is understood, or refused at once with a sentence that says what to write."""

import threading

import pytest

from orchestrator import Pool, settings
from orchestrator.errors import ConfigError
from orchestrator.settings import (
    MapOptions,
    PoolSettings,
    parse_jobs,
    parse_size,
    refuse_fork_with_threads,
    usable_cpus,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1, 1),
        (65536, 65536),
        ("65536", 65536),
        ("64K", 65536),
        ("64k", 65536),
        ("64KB", 65536),
        ("64KiB", 65536),
        ("64 kib", 65536),
        (" 1.5M ", 3 << 19),
        ("2G", 2 << 30),
        ("1T", 1 << 40),
        ("10B", 10),
        ("9007199254740993", 2**53 + 1),
        (2**70, 2**70),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "K", "64X", "1,5M", "-1", "1e6", "64 K B", "0x10", None, True, 1.5e300, "1.M"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match=r"invalid size: .*; use"):
        parse_size(text)


@pytest.mark.parametrize("text", [0, -5, "0", "0G", "0.1"])
def test_a_size_of_nothing_is_refused(text):
    with pytest.raises(ConfigError, match="more than 0 bytes"):
        parse_size(text)


def test_an_absurd_size_is_a_size():
    assert parse_size("9" * 400 + "G") > 2**1000


@pytest.fixture
def machine(monkeypatch):
    def make(cpus, quota=None):
        monkeypatch.setattr(settings.os, "sched_getaffinity", lambda _pid: set(range(cpus)), raising=False)
        monkeypatch.setattr(settings, "cgroup_cpus", lambda: quota)

    return make


@pytest.mark.parametrize(
    ("text", "jobs"),
    [
        ("4", 4),
        (4, 4),
        (" 4 ", 4),
        ("100", 100),
        ("50%", 4),
        ("100%", 8),
        ("200%", 16),
        ("1%", 1),
        ("0%", 1),
        ("+1", 9),
        ("+0", 8),
        ("-1", 7),
        (-1, 7),
        ("-8", 1),
        ("-99", 1),
    ],
)
def test_jobs(machine, text, jobs):
    machine(8)
    assert parse_jobs(text) == jobs


@pytest.mark.parametrize("text", ["", "four", "1.5", "+50%", "-50%", "%", "--1", None, True])
def test_what_is_no_number_of_jobs_is_refused(text):
    with pytest.raises(ConfigError, match="use 4, 50%"):
        parse_jobs(text)


@pytest.mark.parametrize("text", ["0", 0, "00"])
def test_no_jobs_are_refused(text):
    with pytest.raises(ConfigError, match="at least one job"):
        parse_jobs(text)


@pytest.mark.parametrize(
    ("cpus", "quota", "usable"),
    [(8, None, 8), (8, 2.0, 2), (8, 2.4, 2), (8, 2.6, 3), (8, 0.2, 1), (2, 16.0, 2), (1, None, 1)],
)
def test_cpus_are_counted_by_affinity_and_quota(machine, cpus, quota, usable):
    machine(cpus, quota)
    assert usable_cpus() == usable


def test_cpus_without_affinity(machine, monkeypatch):
    machine(8)
    monkeypatch.delattr(settings.os, "sched_getaffinity")
    monkeypatch.setattr(settings.os, "cpu_count", lambda: 5)
    assert usable_cpus() == 5
    monkeypatch.setattr(settings.os, "cpu_count", lambda: None)
    assert usable_cpus() == 1


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("max 100000\n", None), ("150000 100000\n", 1.5), ("400000 100000\n", 4.0), ("", None), ("nonsense", None)],
)
def test_the_quota_is_read_from_the_cgroup(tmp_path, monkeypatch, text, cpus):
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(settings, "CPU_QUOTA_FILE", str(tmp_path / "cpu.max"))
    assert settings.cgroup_cpus() == cpus


def test_without_a_cgroup_there_is_no_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "CPU_QUOTA_FILE", tmp_path / "nothing")
    assert settings.cgroup_cpus() is None


GOOD = {
    "workers": 2,
    "start_method": "spawn",
    "initializer": None,
    "initargs": (),
    "buffer_bytes": 1 << 20,
    "max_deaths": 3,
}


def test_good_pool_settings_are_kept_and_frozen():
    kept = PoolSettings(**GOOD)
    assert (kept.workers, kept.start_method, kept.max_deaths) == (2, "spawn", 3)
    with pytest.raises(AttributeError):
        kept.workers = 3


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("workers", 0, "workers must be a whole number of at least 1, not 0"),
        ("workers", -1, "workers"),
        ("workers", True, "workers"),
        ("workers", 2.0, "workers"),
        ("workers", "2", "not '2'"),
        ("start_method", "thread", "must be one of forkserver, spawn, fork, not 'thread'"),
        ("initializer", "setup", "initializer must be callable, not 'setup'"),
        ("max_deaths", 0, "max_deaths must be a whole number of at least 1, not 0"),
    ],
)
def test_bad_pool_settings_are_refused_by_name(name, value, said):
    with pytest.raises(ConfigError, match=said):
        PoolSettings(**{**GOOD, name: value})


def test_the_defaults_of_a_map():
    options = MapOptions()
    assert (options.ordered, options.chunk, options.retries, options.on_error) == (True, "auto", 0, "raise")


@pytest.mark.parametrize("chunk", [1, 1000, "auto"])
def test_good_chunks(chunk):
    assert MapOptions(chunk=chunk).chunk == chunk


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"chunk": 0}, "chunk must be"),
        ({"chunk": -3}, "chunk must be"),
        ({"chunk": True}, "not True"),
        ({"chunk": 1.0}, "chunk must be"),
        ({"chunk": "big"}, "not 'big'"),
        ({"chunk": None}, "not None"),
        ({"on_error": "ignore"}, "must be one of raise, skip, return, not 'ignore'"),
        ({"retries": -1}, "at least 0"),
        ({"retry_delay_s": -0.1}, "must be at least 0"),
    ],
)
def test_bad_map_options_are_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        MapOptions(**options)


def test_a_config_error_is_a_value_error():
    assert issubclass(ConfigError, ValueError)


@pytest.fixture
def another_thread():
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="somebody-else")
    thread.start()
    yield
    end.set()
    thread.join()


@pytest.mark.usefixtures("another_thread")
def test_forking_beside_threads_is_refused(monkeypatch):
    monkeypatch.delenv("ORCHESTRATOR_FORCE_FORK", raising=False)
    alone = [threading.current_thread(), *(t for t in threading.enumerate() if t.name == "somebody-else")]
    monkeypatch.setattr(threading, "enumerate", lambda: alone)
    with pytest.raises(ConfigError, match=r"somebody-else.*ORCHESTRATOR_FORCE_FORK=1"):
        refuse_fork_with_threads()
    monkeypatch.setenv("ORCHESTRATOR_FORCE_FORK", "yes")
    with pytest.raises(ConfigError):
        refuse_fork_with_threads()
    monkeypatch.setenv("ORCHESTRATOR_FORCE_FORK", "1")
    refuse_fork_with_threads()


def test_forking_alone_is_allowed(monkeypatch):
    monkeypatch.delenv("ORCHESTRATOR_FORCE_FORK", raising=False)
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.current_thread()])
    refuse_fork_with_threads()


@pytest.mark.parametrize("workers", [settings.MAX_WORKERS + 1, 10**9, 10**5000], ids=["one more", "many", "huge"])
def test_more_workers_than_any_machine_runs_are_refused_at_once(workers: int) -> None:
    with pytest.raises(ConfigError, match="at most 65,536"):
        Pool(workers)
