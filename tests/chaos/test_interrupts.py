"""Ctrl-C at any line of the start of a pool: it is raised as it is, and what was started ends with the program."""

import os

import psutil
from support.scripts import run_script
from support.waiting import until

SCRIPT = """
import os, random, sys
from orchestrator import Pool

FILES = ("supervisor.py", "lane.py", "launch.py", "coordinator.py", "calls.py")

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
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    done = run_script(tmp_path, SCRIPT, str(seed))
    assert done.returncode == 0, done.stderr  # a worker that got nothing to begin with may say so
    assert int(done.stdout) > 200
    until(lambda: not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or ())])
