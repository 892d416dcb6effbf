"""Runs functions over files and iterables in worker processes: in order, fast, in bounded memory.

The names are loaded when they are first used, so that `import orchestrator` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator import place

if TYPE_CHECKING:
    from orchestrator.engine.protocol.status import WorkerInfo
    from orchestrator.engine.recovery.dead_letters import DeadLetter, read_dead_letters
    from orchestrator.engine.recovery.item_errors import Failure
    from orchestrator.errors import (
        BrokenBarrierError,
        ClosedError,
        ConfigError,
        EngineLostError,
        InternalError,
        ItemError,
        ItemTimeoutError,
        OrchestratorError,
        ReentrantCallError,
        RemoteError,
        ResourceTimeoutError,
        ResumeMismatchError,
        SharedMemoryError,
        WorkerDiedError,
        WorkerStartError,
    )
    from orchestrator.fronts.asyncio import AsyncPool
    from orchestrator.fronts.executor import ProcessPoolExecutor as Executor
    from orchestrator.inside import WorkerContext, current
    from orchestrator.pool.close_report import CloseReport
    from orchestrator.pool.pool import Pool
    from orchestrator.pool.stats import PoolStats
    from orchestrator.pool.sync.barrier import Barrier
    from orchestrator.pool.sync.rate_limit import RateLimit
    from orchestrator.pool.sync.resources import ResourcePool
    from orchestrator.pool.sync.share import Shared
    from orchestrator.pool.workflow import Workflow
    from orchestrator.streams.report import Report
    from orchestrator.streams.running import run
    from orchestrator.streams.stream import Stream

__version__ = "0.1.0"
place.claim()

_HOMES = {
    "AsyncPool": "fronts.asyncio",
    "Barrier": "pool.sync.barrier",
    "BrokenBarrierError": "errors",
    "DeadLetter": "engine.recovery.dead_letters",
    "read_dead_letters": "engine.recovery.dead_letters",
    "CloseReport": "pool.close_report",
    "Pool": "pool.pool",
    "PoolStats": "pool.stats",
    "WorkerInfo": "engine.protocol.status",
    "RateLimit": "pool.sync.rate_limit",
    "ResourcePool": "pool.sync.resources",
    "Failure": "engine.recovery.item_errors",
    "Report": "streams.report",
    "Stream": "streams.stream",
    "Workflow": "pool.workflow",
    "Executor": "fronts.executor:ProcessPoolExecutor",
    "run": "streams.running",
    "WorkerContext": "inside",
    "current": "inside",
    "ClosedError": "errors",
    "ConfigError": "errors",
    "EngineLostError": "errors",
    "InternalError": "errors",
    "ItemError": "errors",
    "ItemTimeoutError": "errors",
    "OrchestratorError": "errors",
    "ReentrantCallError": "errors",
    "RemoteError": "errors",
    "ResumeMismatchError": "errors",
    "ResourceTimeoutError": "errors",
    "Shared": "pool.sync.share",
    "SharedMemoryError": "errors",
    "WorkerDiedError": "errors",
    "WorkerStartError": "errors",
    "pandas": "pandas",
}

__all__ = [
    "AsyncPool",
    "Barrier",
    "BrokenBarrierError",
    "CloseReport",
    "ClosedError",
    "ConfigError",
    "DeadLetter",
    "EngineLostError",
    "Executor",
    "Failure",
    "InternalError",
    "ItemError",
    "ItemTimeoutError",
    "OrchestratorError",
    "Pool",
    "PoolStats",
    "RateLimit",
    "ReentrantCallError",
    "RemoteError",
    "Report",
    "ResourcePool",
    "ResourceTimeoutError",
    "ResumeMismatchError",
    "Shared",
    "SharedMemoryError",
    "Stream",
    "WorkerContext",
    "WorkerDiedError",
    "WorkerInfo",
    "WorkerStartError",
    "Workflow",
    "current",
    "read_dead_letters",
    "run",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        from workers.errors.nearest import did_you_mean  # noqa: PLC0415 - only for a mistake

        hint = "" if name.startswith("__") else did_you_mean(name, __all__)
        msg = f"module 'orchestrator' has no attribute {name!r}{hint}"
        raise AttributeError(msg)
    import importlib  # noqa: PLC0415

    module, _, its_name = home.partition(":")
    found = importlib.import_module(f"orchestrator.{module}")
    value = found if module == name else getattr(found, its_name or name)
    globals()[name] = value
    return value
