"""Which processes belong to a worker: found by following children, without a look at the rest of the machine."""

import os
import subprocess
import sys

import psutil
import pytest
from support.waiting import until

from orchestrator import Pool
from orchestrator.local import process_tree

TREE = """
import subprocess, sys, threading
def start(): children.append(subprocess.Popen(["sleep", "600"], start_new_session=True))
children = [subprocess.Popen([sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '600'])"])]
thread = threading.Thread(target=lambda: (start(), done.wait()))
done = threading.Event()
thread.start()
while len(children) < 2: pass
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def tree():
    """A process with a child and a grandchild, and a child of another thread in a session of its own."""
    process = subprocess.Popen([sys.executable, "-c", TREE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    until(lambda: len(psutil.Process(process.pid).children(recursive=True)) == 3)
    yield process.pid
    process_tree.end_with_children([process.pid])
    process.communicate()


@pytest.mark.parametrize("kernel_lists_children", [True, False])
def test_children_of_all_threads_and_generations_are_found_either_way(tree, monkeypatch, kernel_lists_children):
    if kernel_lists_children and not process_tree._KERNEL_LISTS_CHILDREN:
        pytest.skip("this kernel has no /proc/PID/task/TID/children")
    monkeypatch.setattr(process_tree, "_KERNEL_LISTS_CHILDREN", kernel_lists_children)
    expected = {child.pid for child in psutil.Process(tree).children(recursive=True)}
    assert set(process_tree.descendants([tree])) == expected
    assert len(expected) == 3


def test_all_of_them_are_killed(tree):
    children = psutil.Process(tree).children(recursive=True)
    process_tree.end_with_children([tree])
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, gone


def test_opening_and_closing_a_pool_never_lists_the_processes_of_the_machine(monkeypatch):
    listed = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path=".": listed.append(path) or listdir(path))
    with Pool(2) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]
    pool = Pool(2)
    pool.submit(abs, -1).result()
    pool.terminate()
    if process_tree._KERNEL_LISTS_CHILDREN:
        assert "/proc" not in listed
