"""What workers load to run joblib's batches.

It imports next to nothing: a worker that only runs functions needs no pool.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from workers.pickling import memmap


def mapped(pid: int, fd: int, dtype: Any, mode: Any, shape: tuple[int, ...], order: Any) -> Any:  # noqa: PLR0917
    """Return the array as a `numpy.memmap`, in a worker.

    It has no file name, so where it is sent again it goes by value.
    """
    import numpy as np  # noqa: PLC0415 - only where there are arrays

    memmap.register()
    flags = os.O_RDWR if mode == "r+" else os.O_RDONLY
    with open(os.open(f"/proc/{pid}/fd/{fd}", flags | os.O_CLOEXEC), "r+b" if mode == "r+" else "rb") as file:  # noqa: PTH123
        return np.memmap(file, dtype, mode, 0, shape, order)


def run(batch: Any) -> Any:
    """Run a batch, in a worker.

    joblib learns there of our backend, and that processes are nested, as its own backends tell it.
    """
    from joblib import parallel  # noqa: PLC0415 - the batch has loaded it

    if "orchestrator" not in parallel.BACKENDS:
        parallel.register_parallel_backend("orchestrator", _backend)
        parallel.loky.process_executor._CURRENT_DEPTH += 1  # noqa: SLF001 - where it looks
    if type(batch) is tuple:
        make, rest, function, arguments = batch
        batch = make([(function, args, {}) for args in arguments], *rest)
    return batch()


def _backend(**options: Any) -> Any:
    """Make our backend where a function in a worker asks for one, which few do."""
    front = importlib.import_module("orchestrator.fronts.joblib")  # loads the pool
    return front.OrchestratorBackend(**options)
