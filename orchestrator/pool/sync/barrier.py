"""The barrier of `workers`, raising this package's own error.

All state is in `workers.sync.barrier`.
"""

from __future__ import annotations

import workers.sync.barrier
from orchestrator.errors import BrokenBarrierError


class Barrier(workers.sync.barrier.Barrier):  # noqa: D101 - the docstring is the other one's
    __doc__ = workers.sync.barrier.Barrier.__doc__

    broken_error = BrokenBarrierError
