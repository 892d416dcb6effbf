"""A cluster of Dask: what is killed there, and what is refused; the same commands as on one machine."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.dask_cluster import dask_cluster
from support.waiting import until

from orchestrator import ConfigError, EngineLostError, Failure, Pool, Stream, WorkerDiedError, run

ITEMS = 200


@pytest.fixture
def cluster(dask_engine):
    """A cluster to be damaged; the other one is only there so that the threads of clients are."""
    with dask_cluster() as cluster:
        cluster.worker, cluster.nanny = cluster.add_worker(), cluster.add_worker(nanny=True)
        cluster.wait_for(2)
        yield cluster


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import time, os, helper_of_mine\n"
        "def f(line):\n    time.sleep(0.001)\n    return helper_of_mine.up(line)\n"
    )
    (tmp_path / "helper_of_mine.py").write_text("def up(line):\n    return line.upper()\n")
    (tmp_path / "in.txt").write_text("".join(f"line {number}\n" for number in range(6_000)))
    return tmp_path


def expected(folder):
    return (folder / "in.txt").read_text().upper()


def slowly(x):
    time.sleep(0.005)
    return x * 2


def kills_its_worker(x):
    if x == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def sleeps(seconds):
    time.sleep(seconds)
    return seconds


def command(folder, *arguments):
    return [sys.executable, "-m", "orchestrator", *arguments], {"cwd": folder, "text": True, "stderr": subprocess.PIPE}


def run_command(folder, *arguments):
    line, options = command(folder, *arguments)
    return subprocess.run(line, **options, timeout=120, check=False)


def has_written(folder):
    """Whether some of the output is there, and the run saves its state."""
    return (folder / "saved").is_dir() and any(each.stat().st_size for each in folder.glob("*out.txt*"))


# ---- deaths ---------------------------------------------------------------------------------------------------


def test_a_poison_item_is_blamed_and_a_late_one_too(dask_engine):
    with Pool(engine=dask_engine) as pool:
        results = list(pool.map(kills_its_worker, range(40), on_error="return"))
        assert [each for each in results if not isinstance(each, Failure)] == [n for n in range(40) if n != 7]
        assert isinstance(results[7].error, WorkerDiedError)
        assert results[7].error.deaths == 3
        late = list(pool.map(sleeps, [0.01, 30, 0.01], timeout=0.5, chunk=1, on_error="skip"))
        assert late == [0.01, 0.01]


@pytest.mark.parametrize("what", ["worker", "nanny", "worker of a nanny"])
def test_the_result_is_the_same_whatever_process_of_dask_is_killed(cluster, what):
    victims = {
        "worker": [cluster.worker],
        "nanny": [cluster.nanny],
        "worker of a nanny": psutil.Process(cluster.nanny.pid).children(),
    }[what]

    def items():
        for number in range(ITEMS):
            if number == ITEMS // 2:
                for victim in victims:
                    victim.kill()
            yield number

    assert victims
    with Pool(engine=cluster.engine) as pool:
        assert list(pool.map(slowly, items(), chunk=4)) == [2 * number for number in range(ITEMS)]


def test_workers_that_join_are_used_and_at_most_so_many_as_are_wanted(dask_engine):
    with dask_cluster() as cluster:
        cluster.add_worker()
        cluster.wait_for(1)
        with Pool(engine=cluster.engine) as pool:
            assert pool.size == 1
            cluster.add_worker(threads=2)
            until(lambda: pool.size == 3)
            assert list(pool.map(slowly, range(20), chunk=1)) == [2 * number for number in range(20)]
            pool.resize(2)
            assert pool.size == 2
        with Pool(1, engine=cluster.engine) as pool:
            assert (pool.size, len(pool.workers)) == (1, 1)


def test_nothing_is_left_on_the_nodes(dask_engine):
    pids = set()
    with Pool(engine=dask_engine) as pool:
        pids.update(pool.map(pid_of_worker, range(50), chunk=1))
        assert any(map(psutil.pid_exists, pids))
        nodes = {info.pid for info in pool.workers}
        assert any(map(modules_kept_by, nodes))
    until(lambda: not any(map(psutil.pid_exists, pids)))
    until(lambda: not any(map(modules_kept_by, nodes)))


def modules_kept_by(pid):
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(each))
    return [each for each in found if "orchestrator-code" in each]


def pid_of_worker(_):
    return os.getpid()


def test_a_node_that_is_frozen_is_given_up(cluster, monkeypatch):
    monkeypatch.setattr("orchestrator.cluster.dask.nodes.SILENT_S", 3.0)

    def items():
        for number in range(ITEMS):
            if number == ITEMS // 2:
                cluster.worker.send_signal(signal.SIGSTOP)
            yield number

    with Pool(engine=cluster.engine) as pool:
        assert list(pool.map(slowly, items(), chunk=4)) == [2 * number for number in range(ITEMS)]
        assert pool.size == 1


def variable(name):
    return os.environ.get(name)


def test_workers_have_the_variables_that_are_named(dask_engine, monkeypatch):
    monkeypatch.setenv("NOT_SENT", "here")
    with Pool(engine=dask_engine, env={"SENT": "there"}) as pool:
        assert list(pool.map(variable, ["SENT", "NOT_SENT"])) == ["there", None]


def test_a_cancelled_call_frees_its_worker(dask_engine):
    with Pool(engine=dask_engine) as pool:
        future = pool.submit(sleeps, 60)
        until(lambda: pool.status().chunks_in_flight == 1)
        assert pool.cancel(future)
        assert pool.submit(sleeps, 0.01).result(timeout=30) == 0.01


# ---- what breaks it -------------------------------------------------------------------------------------------


def test_a_lost_scheduler_is_told_and_the_run_resumed_on_a_new_one(cluster, folder):
    port = int(cluster.address.rpartition(":")[2])
    line, options = command(folder, "run", "mine.py:f", "in.txt", "-o", "out.txt", "-q", "--engine", cluster.engine, "--checkpoint", "saved")
    with subprocess.Popen(line, **options) as child:
        until(lambda: has_written(folder))
        cluster.scheduler.kill()
        said = child.communicate(timeout=60)[1]
    assert child.returncode == 1, said
    assert "the scheduler of Dask" in said
    cluster.start_scheduler(port)
    cluster.add_worker(threads=2)
    cluster.wait_for(2)
    again = run_command(folder, "run", "mine.py:f", "in.txt", "-o", "out.txt", "-q", "--engine", cluster.engine, "--checkpoint", "saved", "--resume")
    assert again.returncode == 0, again.stderr
    assert (folder / "out.txt").read_text() == expected(folder)


def test_a_pool_without_its_scheduler_raises(cluster):
    def items():
        for number in range(ITEMS):
            if number == ITEMS // 4:
                cluster.scheduler.kill()
            yield number

    with pytest.raises(EngineLostError, match="scheduler of Dask"), Pool(engine=cluster.engine) as pool:
        list(pool.map(slowly, items(), chunk=1))


def test_a_killed_client_is_resumed_to_the_byte(dask_engine, folder):
    arguments = ("run", "mine.py:f", "in.txt", "-o", "out.txt", "-q", "--engine", dask_engine, "--checkpoint", "saved")
    line, options = command(folder, *arguments)
    with subprocess.Popen(line, **options) as child:
        until(lambda: has_written(folder))
        child.kill()
        child.communicate(timeout=60)
    again = run_command(folder, *arguments, "--resume")
    assert again.returncode == 0, again.stderr
    assert (folder / "out.txt").read_text() == expected(folder)


# ---- the command ----------------------------------------------------------------------------------------------


def test_run_sends_its_modules_and_gives_what_it_gives_here(dask_engine, folder):
    done = run_command(folder, "run", "mine.py:f", "in.txt", "-o", "out.txt", "--engine", dask_engine, "-j", "1", "--report", "said.json")
    assert done.returncode == 0, done.stderr
    assert (folder / "out.txt").read_text() == expected(folder)
    assert json.loads((folder / "said.json").read_text())["pool"]["workers"] == 1


def test_a_job_names_the_cluster_in_its_file(dask_engine, folder):
    (folder / "job.toml").write_text(
        f'[source.s]\nread = ["in.txt"]\n[step.t]\nfrom = "s"\nmap = "mine.py:f"\n[sink.o]\nfrom = "t"\nwrite = "out.txt"\n[pool]\nengine = "{dask_engine}"\n'
    )
    done = run_command(folder, "job", "job.toml", "-q")
    assert done.returncode == 0, done.stderr
    assert (folder / "out.txt").read_text() == expected(folder)


def test_prints_come_with_the_results(dask_engine):
    said = []
    with Pool(engine=dask_engine) as pool:
        pool.on_output = lambda worker, stream, text: said.append((stream, text))
        list(pool.map(functools.partial(print, "item"), range(3), chunk=1))
    assert sorted(said) == [("stdout", f"item {number}\n") for number in range(3)]


# ---- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"workers": "auto"}, "machine watch"), ({"memfree": "1K"}, "memfree"), ({"start_method": "fork"}, "start_method"),
        ({"max_deaths": 1}, "single runs"),
    ],
)  # fmt: skip
def test_settings_that_need_one_machine_are_refused(dask_engine, options, said):
    with pytest.raises(ConfigError, match=said) as caught:
        Pool(engine=dask_engine, **options)
    assert "\n" not in str(caught.value)


def test_calls_that_need_one_machine_are_refused(dask_engine):
    with Pool(engine=dask_engine) as pool:
        for call in (
            lambda: pool.run_on_all(abs, 1),
            lambda: pool.share([1]),
            lambda: pool.map(abs, [1], at_most_once=True),
        ):
            with pytest.raises(ConfigError, match="the dask engine has no"):
                call()


def test_where_nobody_answers_the_address_is_named(dask_engine, monkeypatch):
    monkeypatch.setattr("orchestrator.cluster.dask.engine._CONNECTING_S", 0.2)
    with pytest.raises(EngineLostError, match=r"tcp://127\.0\.0\.1:9"):
        Pool(engine="dask://127.0.0.1:9")


def test_another_version_is_refused_with_both(dask_engine, monkeypatch):
    monkeypatch.setattr("orchestrator.__version__", "9.9.9")
    with pytest.raises(ConfigError, match=r"orchestrator 0\.1\.0, the program has .* 9\.9\.9"):
        Pool(engine=dask_engine)


def test_a_client_of_the_programs_stays_open(dask_engine):
    from distributed import Client

    address = dask_engine.replace("dask", "tcp")
    with Client(address, set_as_default=False) as client:
        out = []
        run(Stream(range(30)).map(slowly).to(out), engine=client)
        assert out == [2 * number for number in range(30)]
        assert client.submit(abs, -3).result() == 3
