"""The engine of a cluster of Dask: connects, and says what such a pool can do."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from orchestrator.cluster.code import Packer
from orchestrator.cluster.codec import Pickling
from orchestrator.cluster.engine import ClusterEngine
from orchestrator.engine.core.chunking import Limits
from orchestrator.engine.protocol.engine import Capability
from orchestrator.errors import ConfigError, EngineLostError
from orchestrator.settings import PoolSettings
from workers.errors.describe import text_of

CAPABILITIES: frozenset[Capability] = frozenset({
    "processes", "background", "batches", "deadlines", "deaths", "memory limits", "recycling", "resizing",
    "thread limits", "seeds", "initializers",
})  # fmt: skip
_LIMITS = Limits(target_s=0.1, workers_at_target=20, most_bytes=1 << 20, least_depth=2)
"""A chunk costs the scheduler about a millisecond: with n slots it should run max(0.1, n / 200) seconds."""
_CONNECTING_S = 10.0
_SCHEME = "dask://"


def made_by(where: Any) -> Callable[[PoolSettings], ClusterEngine]:
    """Return what makes the engine of a pool over a scheduler's address, "dask://host:port", or a client."""

    def make(settings: PoolSettings) -> ClusterEngine:
        try:
            from orchestrator.cluster.dask.session import Session  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"engine {where!r} needs Dask, of which {error.name} is missing: pip install 'orchestrator-pool[dask]'"
            ) from None
        client = _connected(where) if isinstance(where, str) else where
        try:
            session = Session(client, own=client is not where)
        except BaseException:
            if client is not where:
                client.close()
            raise
        return ClusterEngine(
            settings, session, Pickling, packer=Packer(), name="dask", capabilities=CAPABILITIES, limits=_LIMITS
        )

    return make


def _connected(where: str) -> Any:
    from distributed import Client  # noqa: PLC0415 - an extra

    address = where.removeprefix(_SCHEME)
    if "://" not in address:
        address = f"tcp://{address}"
    if is_exposed(address):
        warnings.warn(
            f"the connection to {address} is not encrypted, and whoever reaches it can run code on its workers: use "
            "TLS (pass a distributed.Client with Security)",
            stacklevel=5,
        )
    try:
        _knock(address)  # first, as a client that finds nobody leaves its thread behind
        return Client(address, timeout=_CONNECTING_S, set_as_default=False, name="orchestrator")
    except (OSError, ValueError) as error:
        raise EngineLostError(
            f"no scheduler of Dask answers at {address}: {text_of(error)}. Start one (`dask scheduler`), or correct "
            "the address"
        ) from error


def is_exposed(address: str) -> bool:
    """Whether others might read what is sent to an address: it is plain, and not this machine's own."""
    found = urlsplit(address)
    host = found.hostname or ""
    return found.scheme == "tcp" and not (host in {"localhost", "::1"} or host.startswith("127."))


def _knock(address: str) -> None:
    """Raise OSError unless somebody listens there."""
    found = urlsplit(address)
    if found.hostname is not None and found.port is not None:
        socket.create_connection((found.hostname, found.port), timeout=_CONNECTING_S).close()
