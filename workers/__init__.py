"""The code of worker processes, which needs only the standard library, never `orchestrator`.

User code that runs in a worker may ask where it is with `workers.current()`.
"""

from typing import Any

from workers.process.context import WorkerContext, current

__all__ = ["WorkerContext", "current"]


def __getattr__(name: str) -> Any:
    if not name.startswith("__"):
        from workers.process.clash import hidden_by  # noqa: PLC0415 - only for what isn't here

        other = hidden_by(name)
        if other is not None:
            raise ImportError(
                f"`workers` is a package of orchestrator and has no {name!r}; {other} is hidden by it: rename that "
                "module (say, to my_workers.py)",
                name="workers",
            )
    msg = f"module 'workers' has no attribute {name!r}"
    raise AttributeError(msg)
