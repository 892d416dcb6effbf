"""A party of the barrier is killed with SIGKILL at every line of a round, and at random instants.

Those who are left must get a `BrokenBarrierError` that names it, never more than one phase apart; after `reset` and
`resize` they go on without it. Each case is a process that forks three parties, so that many run at once.
"""

import os
import random
import signal
import sys
import time

import pytest
from support.seed import SEED

from orchestrator import Barrier, BrokenBarrierError
from workers.sync import barrier, barrier_memory, shared_file

AT_ONCE = 16
FILES = {module.__file__ for module in (barrier, barrier_memory, shared_file)}
LEFT = 2
LINES = 120
"""More than a round has in any role: from its last line on a party dies behind the round."""
TIMEOUT_S = 30


def forked(run):
    """Run in a child, which says what it returns through a pipe; return its pid and the pipe's reading end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    try:
        os.write(writer, str(run()).encode())
    except BaseException as error:
        os.write(writer, f"{type(error).__name__}: {error}".encode())
    os._exit(0)


def told_by(reader):
    told = b""
    while part := os.read(reader, 4096):
        told += part
    os.close(reader)
    return told.decode()


def look_until(condition, limit_s):
    ends = time.monotonic() + limit_s
    while not condition() and time.monotonic() < ends:
        time.sleep(0.0002)


def kill_at(point):
    """Have the kernel kill this process before the `point`-th line that it runs in the barrier's modules."""
    lines = 0

    def line(_frame, event, _argument):
        nonlocal lines
        lines += event == "line"
        if lines == point:
            os.kill(os.getpid(), signal.SIGKILL)
        return line

    sys.settrace(lambda frame, *_: line if frame.f_code.co_filename in FILES else None)


def die_at(barrier, _join, role, point):
    """One round untouched, then one in which this party arrives as `role` says, and dies at the point."""
    barrier.wait(TIMEOUT_S)
    if role == "last":
        look_until(lambda: barrier.n_waiting == LEFT, TIMEOUT_S)
    kill_at(point)
    barrier.wait(TIMEOUT_S)
    sys.settrace(None)
    os.kill(os.getpid(), signal.SIGKILL)  # the point lies behind the round's last line


def wait_until_broken(barrier, role, told, go_on):
    """Go through as many phases as there are; then, once told to, through two more."""
    passed = 0
    try:
        while True:
            if role == "first" and passed == 1:
                look_until(lambda: barrier.n_waiting, 0.02)  # it may have died before it arrived
            barrier.wait(TIMEOUT_S)
            passed += 1
    except BrokenBarrierError as error:
        os.write(told, f"{passed} {error}\n".encode())
    os.read(go_on, 1)
    return [barrier.wait(TIMEOUT_S) < LEFT for _ in range(2)]


def case(victim_does, role, kill_after_s=None):
    """Return what is wrong with how three parties fared of which one is killed; "" if nothing is."""
    barrier = Barrier(1 + LEFT)
    told, say = os.pipe()
    go_on, let_go = os.pipe()
    joined, join = os.pipe()
    victim, silence = forked(lambda: victim_does(barrier, join))
    left = [forked(lambda: wait_until_broken(barrier, role, say, go_on)) for _ in range(LEFT)]
    if kill_after_s is not None:
        os.read(joined, 1)
        time.sleep(kill_after_s)
        os.kill(victim, signal.SIGKILL)
    os.waitpid(victim, 0)
    reports = [os.read(told, 1)]
    while b"".join(reports).count(b"\n") < LEFT:
        reports.append(os.read(told, 4096))
    lines = b"".join(reports).decode().splitlines()
    passed = [int(line.split()[0]) for line in lines]
    wrong = [line for line in lines if f"process {victim}, died" not in line]
    if max(passed) - min(passed) > 1:
        wrong.append(f"phases apart: {passed}")
    barrier.reset()
    barrier.resize(LEFT)
    os.write(let_go, b"!" * LEFT)
    ends = [told_by(reader) for _, reader in left]
    wrong += [end for end in ends if end != "[True, True]"]
    for pid, _ in left:
        os.waitpid(pid, 0)
    if kill_after_s is None and not set(passed) <= {1, 2}:
        wrong.append(f"phases passed: {passed}")
    return "; ".join(wrong)


def wrong_in(cases):
    """Run the cases, so many at once; return the labels of those in which something is wrong, with what it is."""
    wrong, running, waiting = {}, [], list(cases.items())
    while running or waiting:
        while waiting and len(running) < AT_ONCE:
            label, run = waiting.pop()
            running.append((label, *forked(run)))
        label, pid, reader = running.pop(0)
        told = told_by(reader)
        os.waitpid(pid, 0)
        if told:
            wrong[label] = told
    return wrong


pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.mark.parametrize("role", ["first", "last"])
def test_killed_at_every_line_of_a_round(role):
    cases = {
        f"{role}, line {point}": lambda point=point: case(lambda *given: die_at(*given, role, point), role)
        for point in range(1, LINES + 1)
    }
    assert wrong_in(cases) == {}


def go_round(barrier, join):
    """A forked child is a party from its first wait on; so it says when it has been through one."""
    barrier.wait(TIMEOUT_S)
    os.write(join, b"!")
    while True:
        barrier.wait(TIMEOUT_S)


def test_killed_at_random_instants():
    chance = random.Random(SEED)
    instants_s = {f"seed {SEED}, number {number}": chance.expovariate(500) for number in range(40)}
    cases = {label: lambda after=after: case(go_round, "any", after) for label, after in instants_s.items()}
    assert wrong_in(cases) == {}
