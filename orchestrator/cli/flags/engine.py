"""The flag --engine, and the flags that an engine can't support."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from orchestrator.pool.engines import ENGINES, refuse

if TYPE_CHECKING:
    from orchestrator.engine.protocol.engine import Capability

_NEEDS: dict[str, Capability] = {
    "timeout": "deadlines",
    "mem_per_worker": "memory limits",
    "memfree": "memory limits",
    "items_per_worker": "recycling",
    "threads_per_worker": "thread limits",
}
"""By the name of a flag's value: what it needs, if it is given."""


def add_engine(group: argparse._ActionsContainer, default: str | None, said: str) -> None:
    """Add the flag.

    `said` tells the default.
    """
    group.add_argument(
        "--engine",
        choices=tuple(ENGINES),
        default=default,
        help="what runs the function: local, worker processes; or serial, this process, one record after another, for "
        f"breakpoint() and prints; -j is ignored then ({said})",
    )


def engine_of(args: argparse.Namespace) -> str:
    """Return the engine that the arguments of `run` name.

    Raises:
        ConfigError: another flag asks for what it can't do.
    """
    asked = [(f"--{name.replace('_', '-')}", need) for name, need in _NEEDS.items() if getattr(args, name) is not None]
    if args.start_method != "forkserver":
        asked.append(("--start-method", "start methods"))
    refuse(args.engine, asked)
    return str(args.engine)
