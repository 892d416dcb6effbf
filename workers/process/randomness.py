"""Seeds random numbers: different ones in each worker, or with a seed the same for an item anywhere.

Owner of the state: the worker's main thread; `random` and `numpy.random` have one generator a process.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import sys
from collections.abc import Callable
from typing import Any

from workers.process import context


def begin(seed: int | None, worker_id: int) -> None:
    """Seed a worker that was just started, with a seed of its id if there is one."""
    if seed is not None:
        with contextlib.suppress(ImportError):  # now: what a function loads later would not be seeded
            importlib.import_module("numpy.random")
        _set((seed, 0, worker_id))
        return
    random.seed()
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.seed()


def begin_item(seed: int, order: int, index: int) -> None:
    """Set all generators to where they are to be for the item at `index` of a call."""
    _set((seed, 1, order, index))


def _set(key: tuple[int, ...]) -> None:
    import hashlib  # noqa: PLC0415 - loads OpenSSL, and only pools with a seed need it

    number = int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=16).digest(), "little")
    context.seeded(number)
    random.seed(number)
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None:
        entropy, *spawn_key = key
        numpy.seed(numpy.SeedSequence(entropy, spawn_key=tuple(spawn_key)).generate_state(8))
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(number % 2**63)


class Seeded:
    """A function that gets new random numbers for each item.

    It is called once for each item, in order.
    """

    def __init__(self, function: Callable[..., Any], seed: int, order: int) -> None:
        self._function, self._seed, self._order = function, seed, order
        self.index = 0
        """Of the next item, in its call."""

    def __call__(self, *arguments: Any) -> Any:
        """Call the function for the next item."""
        begin_item(self._seed, self._order, self.index)
        self.index += 1
        return self._function(*arguments)
