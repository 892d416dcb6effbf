"""The flag --engine, and the flags that an engine can't support."""

from __future__ import annotations

import argparse

from orchestrator.pool.engines import ENGINES, NEEDS, refuse

_FLAGS = {"memory_limit": "--mem-per-worker"}
"""Setting of a pool -> its flag, where the name differs."""


def add_engine(group: argparse._ActionsContainer, default: str | None, said: str) -> None:
    """Add the flag.

    `said` tells the default.
    """
    group.add_argument(
        "--engine",
        metavar=f"{{{','.join(ENGINES)},dask://HOST:PORT}}",
        default=default,
        help="what runs the function: local, worker processes; serial, this process, one record after another, for "
        "breakpoint() and prints, where -j is ignored; or the workers of a scheduler of Dask, of which -j uses so many "
        f"at once ({said})",
    )


def engine_of(args: argparse.Namespace) -> str:
    """Return the engine that the arguments of `run` name.

    Raises:
        ConfigError: another flag asks for what it can't do.
    """
    needs = {_FLAGS.get(key, f"--{key.replace('_', '-')}"): need for key, need in NEEDS.items()}
    needs["--timeout"] = (None, "deadlines")
    values = {f"--{name.replace('_', '-')}": value for name, value in vars(args).items()}
    asked = [
        (flag, need) for flag, (default, need) in needs.items() if values.get(flag) not in {None, str(default)}
    ]
    refuse(args.engine, asked)
    return str(args.engine)
