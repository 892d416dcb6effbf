"""Functions and the terminal: they have none, and say so at once; Ctrl-Z stops the workers too."""

import contextlib
import sys

import psutil
import pytest
from support.terminal import Terminal
from support.waiting import until

ASKS = """
import getpass, subprocess, sys
from orchestrator import Pool

def ask(way):
    if way == "getpass":
        return getpass.getpass()
    if way == "read":
        return open("/dev/tty").readline()
    if way == "write":
        return open("/dev/tty", "w").write("x")
    return subprocess.run(["sh", "-c", "read line </dev/tty"], check=True, stderr=subprocess.DEVNULL)

def main():
    with Pool(1, start_method=sys.argv[1]) as pool:
        for failure in pool.map(ask, ["getpass", "read", "write", "command"], on_error="return"):
            print(f"[{failure.item}: {type(failure.error.__cause__).__name__}]", flush=True)

main()
"""


@pytest.fixture
def terminal(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(text, *arguments):
            (tmp_path / "script.py").write_text(text)
            terminal = Terminal(sys.executable, "-W", "ignore", "script.py", *arguments, cwd=tmp_path)
            stack.callback(terminal.close)
            return terminal

        yield start


def test_a_function_that_wants_the_terminal_fails_at_once(terminal, start_method):
    shown = terminal(ASKS, start_method).wait_for("<ended 0>")
    assert "[getpass: EOFError]" in shown
    assert "[read: OSError]" in shown
    assert "[write: OSError]" in shown
    assert "[command: CalledProcessError]" in shown


STOPS = """
import os, subprocess, sys, time
from orchestrator import Pool

def work(item):
    if item == 0:
        child = subprocess.Popen(["sleep", "600"])
        with open("pids", "w") as file:
            file.write(f"{os.getpid()} {child.pid}")
        while not os.path.exists("go"):
            time.sleep(0.01)
        child.kill()
        child.wait()
    return item

with Pool(2) as pool:
    print(list(pool.map(work, range(4), chunk=1, timeout=float(sys.argv[1]))), "deaths", pool.stats().deaths, flush=True)
"""


def status(pid):
    return psutil.Process(pid).status()


@pytest.mark.parametrize("timeout_s", [600, 3])
def test_ctrl_z_stops_the_workers_and_what_they_started_and_is_nobodys_time(terminal, tmp_path, timeout_s):
    shell = terminal(STOPS, str(timeout_s))
    until(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    shell.press(b"\x1a")
    shell.wait_for("<stopped>")
    until(lambda: [status(pid) for pid in pids] == [psutil.STATUS_STOPPED] * 2)
    if timeout_s == 3:
        began = psutil.Process(pids[0]).create_time()
        until(lambda: psutil.time.time() - began > 4)  # longer than an item may take
    shell.resume()
    (tmp_path / "go").touch()
    assert "[0, 1, 2, 3] deaths 0" in shell.wait_for("<ended 0>")
