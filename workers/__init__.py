"""What a worker process loads: standard library only, and never anything of `orchestrator`.

User code that runs in a worker may ask where it is with `workers.current()`.
"""

from workers.context import WorkerContext, current

__all__ = ["WorkerContext", "current"]
