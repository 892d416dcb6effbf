"""A storm: a thread of this process that kills a random worker of a pool every so often, for as long as it is open."""

from __future__ import annotations

import os
import random
import signal
import threading
from typing import Any, Self

import workers


class Storm:
    """Kills workers of `pool` with SIGKILL every `every_s` seconds; which ones is up to the seed."""

    def __init__(self, pool: Any, seed: object, every_s: float = 0.05) -> None:
        self._pool = pool
        self._chance = random.Random(seed)
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._rage, name="storm")
        self.kills = 0
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _rage(self) -> None:
        try:
            while not self._over.wait(self._every_s):
                self._strike()
        except BaseException as error:
            self.error = error

    def _strike(self) -> None:
        # Not those that are starting: several in a row that die so are taken for workers that can't start.
        alive = [each.pid for each in self._pool.workers if each.state == "ready"]
        if alive:
            victim = self._chance.choice(alive)
            try:
                os.kill(victim, signal.SIGKILL)
                self.kills += 1
            except ProcessLookupError:
                pass


def work(n: int) -> int:
    """Take a moment now and then; a worker loads this module, which imports little."""
    if n % PAUSE_ITEMS == 0:
        _PAUSE.wait(PAUSE_S)
    return n * 7


def step(number: int) -> int:
    """Together with all workers: the greatest of `number` + their ids."""
    worker = workers.current()
    greatest: int = worker.all_reduce(number + worker.id, max)
    worker.barrier.wait()
    return greatest


PAUSE_ITEMS = 10
PAUSE_S = 0.004
_PAUSE = threading.Event()
