"""Ctrl-C at any line of the start of a pool: it is raised as it is, and what was started ends with the program."""


import psutil
import pytest
from support.scripts import run_script
from support.seed import SEED
from support.waiting import until

SCRIPT = """
import os, random, sys
from orchestrator import Pool

FILES = ("supervisor.py", "lane.py", "lane_io.py", "worker_process.py", "coordinator.py", "calls.py")

def interrupted(point):
    lines = 0
    def line(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        if lines == point:
            sys.settrace(None)
            raise KeyboardInterrupt
        return line
    def call(frame, event, argument):
        return line if os.path.basename(frame.f_code.co_filename) in FILES else None
    sys.settrace(call)
    try:
        pool = Pool(2)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    pool.terminate()
    return False

with Pool(1) as pool:  # the fork server is there
    pool.submit(abs, 1).result()
chance = random.Random(int(sys.argv[1]))
point = 1
while interrupted(point):
    point += chance.randrange(1, 40)
print(point)
"""


def test_ctrl_c_while_a_pool_starts(tmp_path):
    done = run_script(tmp_path, SCRIPT, str(SEED))
    assert done.returncode == 0, done.stderr  # a worker that got nothing to begin with may say so
    assert int(done.stdout) > 200
    until(lambda: not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or ())])


AT_WORK = """
import os, random, signal, sys, time
from orchestrator import ClosedError, ItemError, Pool, Stream, run

FOLDERS = tuple(os.sep + os.path.join("orchestrator", name) + os.sep for name in ("local", "engine", "graph", "pool"))

class Own(Exception): pass
def own(*_): raise Own
if sys.argv[3] == "own": signal.signal(signal.SIGINT, own)

def mapped(pool): return list(pool.map(abs, range(-500, 0), chunk=3))
def submitted(pool): return [pool.submit(abs, n).result() for n in range(-20, 0)]
def streamed(pool):
    run(Stream(range(-300, 0)).map(abs).map_inline(abs).map(abs).to(got := []), pool=pool)
    return got

def interrupted(pool, work, point):
    seen = 0
    def profile(frame, event, argument):  # Python looks for signals where a function begins and behind every call of C
        nonlocal seen
        if event in ("call", "c_return") and any(folder in frame.f_code.co_filename for folder in FOLDERS):
            seen += 1
            if seen == point:
                sys.setprofile(None)
                signal.raise_signal(signal.SIGINT)
    sys.setprofile(profile)
    try:
        work(pool)
    except (KeyboardInterrupt, Own):
        return True
    except ItemError as error:  # it was raised where a function of the user's runs inline, as if by that function
        assert isinstance(error.__cause__, Own)
        return True
    finally:
        sys.setprofile(None)
    return seen >= point  # it was lost in what runs at a collection, as Python does with every error there

chance = random.Random(int(sys.argv[1]))
points = 0
pool = Pool(2, start_method=sys.argv[2])
for work in (mapped, submitted, streamed):
    assert work(pool)
    point = chance.randrange(1, 60)
    while interrupted(pool, work, point):
        try:
            assert mapped(pool) == list(range(500, 0, -1)) and submitted(pool) == list(range(20, 0, -1)), point
            ends = time.monotonic() + 60  # a call whose submit was interrupted may run still, and nobody waits for it
            while (status := pool.status()).chunks_in_flight and time.monotonic() < ends:
                time.sleep(0.001)
            assert (status.chunks_in_flight, status.bytes_in_flight) == (0, 0), (work, point, status)
        except ClosedError as error:
            assert sys.argv[3] == "own" and "make a new one" in str(error), error
            pool.terminate()
            pool = Pool(2, start_method=sys.argv[2])
        points += 1
        point += chance.randrange(1, point // 10 + 60)
pool.close()
print(points)
"""


@pytest.mark.parametrize(
    ("method", "handler"), [("forkserver", "python"), ("spawn", "python"), ("fork", "python"), ("forkserver", "own")]
)
def test_an_interrupt_at_any_call_leaves_the_pool_at_work(tmp_path, method, handler):
    """Python's own handler; one of the program's own that raises may leave it broken, which is told."""
    done = run_script(tmp_path, AT_WORK, str(SEED), method, handler)
    assert done.returncode == 0, done.stderr  # "Exception ignored in" may stand there: see AT_WORK
    assert int(done.stdout) > 30
