"""Finds a pool's engine by its name, and refuses what it can't do before anything starts.

The one place that knows the engines themselves. To add one, see CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.errors import ConfigError
from orchestrator.option_values import one_of
from workers.errors.describe import type_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.engine.protocol.engine import Capability, Engine
    from orchestrator.settings import PoolSettings


class Kind(NamedTuple):
    """A kind of engine."""

    name: str
    capabilities: frozenset[Capability]
    """What it can do, known before there is one."""
    make: Callable[[PoolSettings], Engine]
    """Starts one."""
    is_elsewhere: bool = False
    """Whether it has workers of its own making, of which a pool uses all unless it is told how many."""


def _local(_: object) -> Kind:
    from orchestrator.local.coordinator import Coordinator  # noqa: PLC0415 - an engine that is not used stays unloaded

    return Kind("local", Coordinator.capabilities, Coordinator)


def _serial(_: object) -> Kind:
    from orchestrator.serial.engine import SerialEngine  # noqa: PLC0415

    return Kind("serial", SerialEngine.capabilities, SerialEngine)


def _dask(where: Any) -> Kind:
    from orchestrator.cluster.dask.engine import CAPABILITIES, made_by  # noqa: PLC0415

    return Kind("dask", CAPABILITIES, made_by(where), is_elsewhere=True)


def _executor(executor: Any) -> Kind:
    from orchestrator.cluster.executor.engine import capabilities_of, made_by  # noqa: PLC0415

    return Kind("executor", capabilities_of(executor), made_by(executor), is_elsewhere=True)


ENGINES: dict[str, Callable[[object], Kind]] = {"local": _local, "serial": _serial}
"""Loads an engine by its name; the first is the default."""
ADDRESSES: dict[str, Callable[[object], Kind]] = {"dask://": _dask}
"""Loads an engine that is elsewhere, by what its address begins with."""

NEEDS: dict[str, tuple[Any, Capability]] = {
    "start_method": ("forkserver", "start methods"),
    "initializer": (None, "initializers"),
    "finalizer": (None, "initializers"),
    "max_deaths": (3, "deaths"),
    "memory_limit": (None, "memory limits"),
    "memfree": (None, "machine watch"),
    "items_per_worker": (None, "recycling"),
    "seed": (None, "seeds"),
    "threads_per_worker": (None, "thread limits"),
    "env": (None, "processes"),
}
"""By setting of a pool: its default, and what it needs if it is another."""


def check_name(name: str) -> None:
    """Raise ConfigError if no engine has this name or address. Loads none."""
    if not name.startswith(tuple(ADDRESSES)):
        one_of("engine", name, tuple(ENGINES), otherwise="an address such as dask://host:8786")


def kind_of(engine: object) -> Kind:
    """Return the kind of an engine.

    Args:
        engine: its name, its address, a `concurrent.futures.Executor`, or a `distributed.Client`.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(engine, str):
        check_name(engine)
        loads = ENGINES.get(engine) or next(each for head, each in ADDRESSES.items() if engine.startswith(head))
        return loads(engine)
    if any(each.__module__.startswith("distributed.") and each.__name__ == "Client" for each in type(engine).__mro__):
        return _dask(engine)
    from concurrent.futures import Executor  # noqa: PLC0415 - most pools have an engine of ours

    if isinstance(engine, Executor):
        return _executor(engine)
    raise ConfigError(
        f"engine must be {', '.join(map(repr, ENGINES))}, an address such as 'dask://host:8786', an executor of "
        f"concurrent.futures, or a client of Dask; not {type_name(type(engine))}"
    )


def engine_of(kind: Kind, settings: PoolSettings) -> Engine:
    """Return a new engine.

    Its workers, if it has some, are being started.

    Raises:
        ConfigError: it can't do what the settings ask for; nothing was started.
    """
    refuse_of(kind, [(key, need) for key, (default, need) in NEEDS.items() if getattr(settings, key) != default])
    if settings.max_deaths == 1:
        refuse_of(kind, [("max_deaths=1", "single runs")])
    return kind.make(settings)


def refuse(name: str, asked: Iterable[tuple[str, Capability]]) -> None:
    """Refuse options that an engine can't support.

    Args:
        name: of the engine, or its address.
        asked: options as their user calls them, each with what it needs.

    Raises:
        ConfigError: it can't do one of these, or there is no such engine.
    """
    check_name(name)
    found = list(asked)
    if found:
        refuse_of(kind_of(name), found)


def refuse_of(kind: Kind, asked: Iterable[tuple[str, Capability]]) -> None:
    """Do as `refuse`, for a kind of engine."""
    for what, need in asked:
        from orchestrator.engine.protocol.engine import unable  # noqa: PLC0415 - the command names engines before any is loaded

        if need not in kind.capabilities:
            raise unable(kind.name, what, need)
