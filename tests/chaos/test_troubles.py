"""Every way to fail at once, under memory pressure and resizing: each item comes out once, or has one dead letter.

`CHAOS_ITEMS` says how many items there are (the long form is `scripts/chaos troubles`), `CHAOS_SEED` what happens when.
"""

import os
import random
import signal
import threading
import time

from support.seed import SEED

import workers
from orchestrator import Pool, read_dead_letters

ITEMS = min(int(os.environ.get("CHAOS_ITEMS", "100")), 10_000)
PLENTY, LITTLE, NOTHING = 200 << 20, 80 << 20, 10 << 20
RETRIES = {ValueError: 2, ConnectionError: 4, TimeoutError: 1}
GIVEN_UP = {3, 45, 73}


class BrokenError(ConnectionResetError):
    """Known to the coordinator by its ancestors only."""

    def __reduce__(self):
        raise TypeError


def troubled(x):
    attempt = workers.current().attempt
    trouble = x % 100
    if trouble == 3:
        raise ValueError(x)
    if trouble == 17 and attempt <= 3:
        raise BrokenError(x)
    if trouble == 31 and attempt == 1:
        os._exit(3)
    if trouble == 45:
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble == 73 or (trouble == 59 and attempt == 1):
        time.sleep(60)
    if x % 7 == 0:
        time.sleep(0.002)
    return x


class Machine:
    """Its free memory goes up and down."""

    available = PLENTY

    def total_bytes(self):
        return 1 << 40

    def available_bytes(self):
        return self.available


class Weather:
    """Changes the machine's memory and the pool's size at random."""

    def __init__(self, pool, machine, chance):
        self._pool, self._machine, self._chance = pool, machine, chance
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._change)

    def _change(self):
        while not self._over.wait(self._chance.uniform(0.05, 0.3)):
            self._machine.available = self._chance.choice([PLENTY, PLENTY, LITTLE, NOTHING])
            if self._chance.random() < 0.3:
                self._pool.resize(self._chance.randrange(1, 5))

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


def test_each_item_comes_out_once_or_has_one_dead_letter(tmp_path):
    chance, machine = random.Random(SEED), Machine()
    options = {"ordered": chance.random() < 0.5, "chunk": chance.choice(["auto", 1, 20])}
    print(f"CHAOS_SEED={SEED} {options}")
    with Pool(3, memfree="100M", memory=machine) as pool, Weather(pool, machine, chance):
        got = list(
            pool.map(
                troubled, range(ITEMS), timeout=0.7, retries=RETRIES, on_error="skip",
                dead_letters=tmp_path / "dead", **options,
            )
        )  # fmt: skip
    dead = [letter.item for letter in read_dead_letters(tmp_path / "dead")]
    assert sorted(got + dead) == list(range(ITEMS))
    assert {x % 100 for x in dead} == GIVEN_UP
    assert not options["ordered"] or (got == sorted(got) and dead == sorted(dead))
