"""What nodes are told of a pool's settings."""

from __future__ import annotations

from orchestrator.cluster.node.lifeline import Lifeline
from orchestrator.cluster.node.messages import Settings
from orchestrator.engine.protocol.main_definitions import offered
from orchestrator.errors import WorkerStartError
from orchestrator.settings import PoolSettings
from workers.errors.describe import text_of, type_name
from workers.pickling import by_value


def node_settings(settings: PoolSettings, lifeline: Lifeline) -> Settings:
    """Return what nodes are told of the pool's settings.

    Raises:
        WorkerStartError: the initializer, its arguments or the finalizer can't be pickled.
    """
    first, last = settings.initializer, settings.finalizer
    beginning, names = None, set[str]()
    if first is not None or last is not None:
        try:
            parts = (first, settings.initargs) if first else None, (last, ()) if last else None
            beginning, names = by_value.with_names(parts)
        except Exception as error:
            why = f"{type_name(type(error))}: {text_of(error)}"
            raise WorkerStartError(
                f"the initializer, its arguments or the finalizer can't be sent to a node: {why}"
            ) from error
    return Settings(
        lifeline.where,
        settings.buffer_bytes,
        settings.memory_limit,
        settings.items_per_worker,
        settings.threads_per_worker,
        settings.seed,
        tuple((settings.env or {}).items()),
        beginning,
        last is not None,
        tuple(offered(names)) if names else (),
    )
