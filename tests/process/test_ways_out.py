"""What a worker does when it leaves in order, and what it doesn't when it is ended."""

import os
import signal

import pytest
from support.scripts import run_script, succeeded

from orchestrator import ConfigError, Pool


def same(x):
    return x


done = 0


def count(_):
    global done  # noqa: PLW0603 - what is tested
    done += 1


def told():
    return done, os.getpid()


def fails():
    raise ValueError("not tidy")


@pytest.mark.parametrize("options", [{}, {"items_per_worker": 1}])
def test_the_results_of_finalizers_are_in_the_report(start_method, options):
    pool = Pool(2, start_method=start_method, finalizer=told, **options)
    list(pool.map(count, range(6), chunk=1))
    report = pool.close()
    assert sum(number for number, _ in report.results) == 6
    assert [pid for _, pid in report.results] == [each.pid for each in report.farewells]
    assert {each.worker for each in report.farewells} <= {0, 1}
    assert not report.errors
    assert pool.close() == report


def test_a_finalizer_that_fails_is_told():
    pool = Pool(1, finalizer=fails)
    pool.submit(same, 1).result()
    with pytest.warns(RuntimeWarning, match="the finalizer failed in worker 0"):
        report = pool.close()
    assert not report.results
    assert type(report.errors[0]) is ValueError
    assert report.errors[0].args == ("not tidy",)


def test_a_finalizer_that_is_none():
    with pytest.raises(ConfigError, match="finalizer"):
        Pool(1, finalizer=5)


def test_a_worker_that_is_ended_says_nothing():
    pool = Pool(1, finalizer=told)
    os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
    assert pool.submit(same, 1).result() == 1
    assert len(pool.close().results) == 1


EXITS = """
import atexit, multiprocessing, multiprocessing.util, os, sys, tempfile, threading, time, weakref
from orchestrator import Pool

mine = os.getpid()
folder = tempfile.TemporaryDirectory()
kept = open("unwritten.txt", "w")
kept.write("once ")

@atexit.register
def of_the_program():
    if os.getpid() != mine: say("the program's exit function ran in a worker")

class Thing: pass
thing = Thing()

def say(text):
    with open("said.txt", "a") as file: file.write(text + "\\n")

def slow():
    time.sleep(0.2)
    say("thread")

def prepare(_):
    global file, own
    file = open("written.txt", "w")
    file.write("x" * 100)
    own = Thing()
    weakref.finalize(own, say, "weakref.finalize")
    atexit.register(say, "atexit")
    multiprocessing.util.Finalize(own, say, ("Finalize",), exitpriority=5)
    threading.Thread(target=slow).start()

def last(): say("finalizer")

with Pool(1, start_method=sys.argv[1], finalizer=last) as pool: pool.submit(prepare, 0).result()
said = open("said.txt").read().split("\\n")
assert said[:2] == ["finalizer", "thread"], said
assert sorted(said[2:]) == ["", "Finalize", "atexit", "weakref.finalize"], said
assert open("written.txt").read() == "x" * 100
assert os.path.isdir(folder.name)
kept.close()
assert open("unwritten.txt").read() == "once "
"""


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_exit_functions_run_threads_end_files_are_written(tmp_path, method):
    done = run_script(tmp_path, f"import os; os.chdir({str(tmp_path)!r})\n{EXITS}", method)
    assert succeeded(done) == ""


def test_what_a_queue_still_holds_is_written(tmp_path):
    text = """
    import multiprocessing
    from orchestrator import Pool
    queue = multiprocessing.Queue()
    def fill(_): [queue.put("x" * 1000) for _ in range(1000)]
    pool = Pool(1)
    pool.submit(fill, 0).result()
    import threading
    found = []
    thread = threading.Thread(target=lambda: [found.append(queue.get(timeout=30)) for _ in range(1000)])
    thread.start()
    pool.close()
    thread.join()
    print(len(found))
    """
    assert succeeded(run_script(tmp_path, text)) == "1000\n"
