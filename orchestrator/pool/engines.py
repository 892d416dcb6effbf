"""Finds a pool's engine by its name, and refuses what it can't do before anything starts.

The one place that knows the engines themselves. To add one, see CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.option_values import one_of

if TYPE_CHECKING:
    from orchestrator.engine.protocol.engine import Capability, Engine
    from orchestrator.settings import PoolSettings


def _local() -> type[Engine]:
    from orchestrator.local.coordinator import Coordinator  # noqa: PLC0415 - an engine that is not used stays unloaded

    return Coordinator


def _serial() -> type[Engine]:
    from orchestrator.serial.engine import SerialEngine  # noqa: PLC0415

    return SerialEngine


ENGINES: dict[str, Callable[[], type[Engine]]] = {"local": _local, "serial": _serial}
"""Loads the class of an engine, by the engine's name; the first is the default."""

NEEDS: dict[str, tuple[Any, Capability]] = {
    "start_method": ("forkserver", "start methods"),
    "max_deaths": (3, "deaths"),
    "memory_limit": (None, "memory limits"),
    "memfree": (None, "memory limits"),
    "items_per_worker": (None, "recycling"),
    "threads_per_worker": (None, "thread limits"),
    "env": (None, "processes"),
}
"""By setting of a pool: its default, and what it needs if it is another."""


def engine_of(name: str, settings: PoolSettings) -> Engine:
    """Return a new engine.

    Its workers, if it has some, are being started.

    Raises:
        ConfigError: there is no such engine, or it can't do what the settings ask for; nothing was started.
    """
    refuse(name, [(key, need) for key, (default, need) in NEEDS.items() if getattr(settings, key) != default])
    return ENGINES[name]()(settings)


def refuse(name: str, asked: Iterable[tuple[str, Capability]]) -> None:
    """Refuse options that an engine can't support.

    Args:
        name: of the engine.
        asked: options as their user calls them, each with what it needs.

    Raises:
        ConfigError: it can't do one of these, or there is no such engine.
    """
    one_of("engine", name, tuple(ENGINES))
    for what, need in asked:
        from orchestrator.engine.protocol.engine import unable  # noqa: PLC0415 - the command names engines before any is loaded

        if need not in ENGINES[name]().capabilities:
            raise unable(name, what, need)
