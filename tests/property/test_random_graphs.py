"""Random graphs of all operators against plain Python: inline and in workers, with failures, deaths, resizes, resumes.

`CHAOS_GRAPHS` says how many (the long form is `scripts/chaos graphs`), `CHAOS_SEED` where the seeds begin. Branches of
every third graph meet again.
"""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.random_graphs import DEADLINE_S, RandomGraph, ResumableGraph, within_deadline
from support.seed import SEED
from support.storm import Storm

from orchestrator import Pool
from orchestrator.graph import checkpoints
from orchestrator.graph.flow import overflow
from orchestrator.graph.runner import Runner

GRAPHS = int(os.environ.get("CHAOS_GRAPHS", "300"))
THREADS = 5
OF_A_THREAD = 3 if GRAPHS <= 300 else GRAPHS // 50


def seeds(count, part):
    """Return seeds of this part's own."""
    return range(SEED + part * 10**6, SEED + part * 10**6 + count)


def test_inline_graphs(tmp_path):
    for seed in seeds(GRAPHS // 2, 1):
        within_deadline(lambda seed=seed: RandomGraph(seed, in_workers=False, folder=tmp_path).run(None), seed)


@pytest.mark.parametrize("buffer_bytes", ["100K", "256M"])
def test_graphs_in_workers(tmp_path, buffer_bytes):
    pool = Pool(2, buffer_bytes=buffer_bytes, max_deaths=1000)
    try:
        for seed in seeds(GRAPHS // 4, 2 + len(buffer_bytes)):
            graph = RandomGraph(seed, in_workers=True, folder=tmp_path)
            within_deadline(lambda graph=graph: graph.run(pool), seed)
    finally:
        pool.terminate()


def test_graphs_of_several_threads_on_one_pool_with_deaths_and_resizes():
    pool = Pool(2, max_deaths=1000)
    done, errors = threading.Event(), []

    def use(thread):
        try:
            for seed in seeds(OF_A_THREAD, 10 + thread):
                within_deadline(lambda seed=seed: RandomGraph(seed, in_workers=True, calm=False, most_items=300).run(pool), seed)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use, args=(number,), daemon=True) for number in range(THREADS)]
    draw = random.Random(SEED)
    try:
        with Storm(pool, SEED, every_s=0.3):
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                pool.resize(draw.randint(1, 4))
                done.wait(0.2)
        assert not errors, errors
    finally:
        pool.terminate()


class CrashError(Exception):
    """The run ends in the middle, without a word to anybody."""


def test_graphs_that_crash_between_two_turns_and_are_resumed(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_SHARE", 0)
    monkeypatch.setattr(overflow, "_KEPT_BYTES", 2000)
    turn, left = Runner.turn, [0]

    def turn_or_crash(engine):
        left[0] -= 1
        if not left[0]:
            raise CrashError
        return turn(engine)

    monkeypatch.setattr(Runner, "turn", turn_or_crash)
    pool = Pool(2, max_deaths=1000)
    try:
        for seed in seeds(GRAPHS // 30, 20):
            draw, folder = random.Random(seed), tmp_path / str(seed)
            folder.mkdir()
            for crash in (True, True, False):
                left[0] = draw.choice([1, 3, 10, 40]) if crash else 0
                graph = ResumableGraph(seed, in_workers=seed % 2 == 0, folder=folder)
                try:
                    within_deadline(lambda graph=graph, folder=folder: graph.run_in(str(folder), pool), seed)
                except CrashError:
                    continue
                break
    finally:
        pool.terminate()


def test_graphs_that_are_killed_and_resumed(tmp_path):
    for seed in seeds(GRAPHS // 150, 30):
        draw, folder = random.Random(seed), tmp_path / str(seed)
        folder.mkdir()
        command = [sys.executable, "-m", "support.random_graphs", str(seed), str(folder)]
        where = Path(__file__).parents[1]
        environment = os.environ | {"PYTHONPATH": f"{where}{os.pathsep}{where.parent}"}
        for _ in range(3):
            process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
            try:
                process.communicate(timeout=draw.uniform(0.2, 1.5))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == 0, f"seed {seed}: {done.stderr}"
