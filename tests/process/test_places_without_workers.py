"""Where no worker can be started, the error says why, and what to do; where others start none, ours are."""

import subprocess
import sys
from pathlib import Path

import pytest

_IN_A_DELETED_FOLDER = """
import os, sys
from orchestrator import Pool, WorkerStartError
os.rmdir(os.getcwd())
try:
    with Pool(1, start_method=sys.argv[1]) as pool:
        print(list(pool.map(abs, [-1])))
except WorkerStartError as error:
    print(error)
"""
_IN_A_DAEMONIC_PROCESS = """
import multiprocessing, sys
from orchestrator import Pool
def starts_one(_):
    child = multiprocessing.get_context("fork").Process(target=print, args=("grandchild",))
    child.start()
    child.join()
    return child.exitcode
def child():
    with Pool(1, start_method=sys.argv[1]) as pool:
        print(list(pool.map(starts_one, [1])), multiprocessing.current_process().daemon, flush=True)
process = multiprocessing.get_context("fork").Process(target=child, daemon=True)
process.start()
process.join()
"""


def _output(program: str, start_method: str, folder: Path) -> str:
    command = [sys.executable, "-c", program, start_method]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.parametrize("start_method", ["forkserver", "spawn", "fork"])
def test_a_deleted_folder_is_named_or_does_not_matter(start_method: str, tmp_path: Path) -> None:
    said = _output(_IN_A_DELETED_FOLDER, start_method, tmp_path)
    assert said == "[1]\n" if start_method == "fork" else "the current folder was deleted" in said


@pytest.mark.parametrize("start_method", ["forkserver", "spawn", "fork"])
def test_a_daemonic_process_may_have_workers_and_these_may_have_children(start_method: str, tmp_path: Path) -> None:
    assert _output(_IN_A_DAEMONIC_PROCESS, start_method, tmp_path).splitlines()[-1] == "[0] True"
