"""`tqdm.contrib.concurrent.process_map` over a `Pool`: change the import, and the program stays as it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import SemLock
from operator import length_hint
from typing import Any

from tqdm.auto import tqdm as tqdm_auto
from tqdm.contrib.concurrent import ensure_lock

from orchestrator.errors import ClosedError, ItemError, WorkerDiedError, WorkerStartError
from orchestrator.fronts.common.contexts import ForkingPool, context_of
from orchestrator.fronts.common.remote import as_raised_there
from orchestrator.fronts.executor import TerminatedWorkerError
from orchestrator.settings import usable_cpus


def process_map(
    fn: Callable[..., Any],
    *iterables: Iterable[Any],
    max_workers: int | None = None,
    timeout: float | None = None,
    chunksize: int | None = None,
    buffersize: int | None = None,  # noqa: ARG001 - theirs; ours reads no further than its bytes in flight allow
    max_tasks_per_child: int | None = None,
    mp_context: Any = None,
    lock_name: str = "mp_lock",
    tqdm_class: Any = tqdm_auto,
    smoothing: float = 0.0,
    **tqdm_kwargs: Any,
) -> list[Any]:
    """Return `list(map(fn, *iterables))`, run in worker processes, and draw a bar.

    `fn` runs in the workers; the iterables are read and the bar is drawn in the thread that calls.

    Args:
        fn: called with an item of each iterable.
        iterables: the shortest ends it.
        max_workers: how many processes; None: as many as this process may use CPUs.
        timeout: seconds from now after which it is given up with TimeoutError.
        chunksize: how many items travel together; None: measured and adapted, so that none need be given.
        buffersize: has no meaning here: items in flight are bounded by their bytes.
        max_tasks_per_child: how many items a worker runs before it is replaced.
        mp_context: a context of `multiprocessing`, whose start method is used.
        lock_name: which lock of `tqdm_class.get_lock()` bars in the workers share with this one, if it is one that
            processes can share.
        tqdm_class: the class of the bar.
        smoothing: passed to it.
        tqdm_kwargs: passed to it, too. `total` is the length of the shortest iterable if it is not given.

    Raises:
        Exception: what `fn` raised first, in the order of the items, its cause the worker's traceback.
        TimeoutError: it has not ended in time.
        BrokenProcessPool: an item took three workers down; the `WorkerDiedError` that says how is its `__cause__`.
    """
    if "total" not in tqdm_kwargs:
        tqdm_kwargs["total"] = min((size for each in iterables if (size := length_hint(each, -1)) >= 0), default=None)
    method: Any = context_of(mp_context, recycling=max_tasks_per_child is not None).get_start_method()
    failed: BaseException
    with ensure_lock(tqdm_class, lock_name=lock_name) as lock:
        is_shared = isinstance(lock, SemLock)
        try:
            with (
                ForkingPool(
                    max_workers or usable_cpus(),
                    start_method=method,
                    initializer=tqdm_class.set_lock if is_shared else None,
                    initargs=(lock,) if is_shared else (),
                    items_per_worker=max_tasks_per_child,
                ) as pool,
                pool.map(fn, *(iterables or [()]), chunk=chunksize or "auto") as results,
            ):
                within = _until(results, timeout)
                return list(tqdm_class(within, smoothing=smoothing, **tqdm_kwargs))
        except WorkerDiedError as error:
            failed = TerminatedWorkerError(str(error))
            failed.__cause__ = error
        except WorkerStartError as error:
            failed = BrokenProcessPool(str(error))
            failed.__cause__ = error
        except ItemError as error:
            failed = as_raised_there(error)
    raise failed


def _until(results: Any, timeout: float | None) -> Iterator[Any]:
    """Return the results that come within so many seconds, then raise TimeoutError."""
    if timeout is None:
        return iter(results)
    return _timed(results, timeout)


def _timed(results: Any, timeout: float) -> Iterator[Any]:
    over = threading.Event()

    def give_up() -> None:
        over.set()
        results.close()

    timer = threading.Timer(timeout, give_up)
    timer.start()
    try:
        yield from results
    except ClosedError:
        if not over.is_set():
            raise
        raise TimeoutError from None
    finally:
        timer.cancel()
        timer.join()
