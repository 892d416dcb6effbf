"""The functions that user code calls inside a worker, as the package `workers` has them."""

from workers.process.context import WorkerContext, current

__all__ = ["WorkerContext", "current"]
