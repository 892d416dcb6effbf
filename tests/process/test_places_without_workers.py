"""Where no worker can be started, the error says why, and what to do."""

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
from orchestrator import Pool, WorkerStartError
def child():
    try:
        Pool(1, start_method=sys.argv[1])
    except WorkerStartError as error:
        print(error, flush=True)
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
def test_a_daemonic_process_is_told_that_it_may_have_no_workers(start_method: str, tmp_path: Path) -> None:
    assert "daemon=False" in _output(_IN_A_DAEMONIC_PROCESS, start_method, tmp_path)
