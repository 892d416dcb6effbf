"""The collectives of a superstep: barrier, gather, reduce.

Runs in the worker processes. A value is put into shared memory by its worker and read by all after the barrier; none of
it passes through the coordinator. `EXCHANGE.md` beside this file argues why no value is overwritten too early.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable
from typing import Any, Literal

from workers.errors.describe import describe
from workers.sync.barrier import Barrier
from workers.sync.exchange import Exchange

Reduction = Literal["sum", "min", "max"] | Callable[[Any, Any], Any]


class Step:
    """The barrier and the exchange memory that the workers of a step share."""

    def __init__(self, barrier: Barrier, exchange: Exchange) -> None:
        self.barrier = barrier
        self._exchange = exchange
        self._round = 0

    def all_gather(self, value: object) -> list[Any]:
        """Return the values of all workers, in the order of their ids.

        Large buffers are read-only views.
        """
        self._meet(value)
        exchange = self._exchange
        return [exchange.take(self._round, rank) for rank in range(exchange.ranks)]

    def all_reduce(self, value: object, op: Reduction = "sum") -> Any:
        """Fold the values of all workers in the order of their ids.

        That is ((v0 op v1) op v2) …, the same in each worker.
        """
        fold = op if callable(op) else _builtin(op, value)
        self._meet(value)
        exchange = self._exchange
        alone = exchange.ranks == 1  # then there is no fold that would make a new array
        values = (exchange.take(self._round, rank, copy=alone) for rank in range(exchange.ranks))
        return functools.reduce(fold, values)

    def _meet(self, value: object) -> None:
        self._round += 1
        self._exchange.put(self._round, value)
        self.barrier.wait()

    def end(self) -> None:
        """Drop the memory."""
        self._exchange.close()


def _builtin(op: str, value: object) -> Callable[[Any, Any], Any]:
    names = {"sum": "add", "min": "minimum", "max": "maximum"}
    if op not in names:
        msg = f'op must be "sum", "min", "max" or a function of two values, not {describe(op)}'
        raise ValueError(msg)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        return getattr(numpy, names[op])  # type: ignore[no-any-return]
    plain: dict[str, Callable[[Any, Any], Any]] = {"sum": operator.add, "min": min, "max": max}
    return plain[op]
