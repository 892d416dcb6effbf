"""What user code asks inside a worker; the same as in the package `workers`."""

from workers.process.context import WorkerContext, current

__all__ = ["WorkerContext", "current"]
