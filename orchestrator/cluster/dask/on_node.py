"""What tasks of Dask call in a worker process of Dask."""

from __future__ import annotations

import os
from typing import NamedTuple

from distributed import get_worker

from orchestrator.cluster.node import serve
from orchestrator.cluster.node.messages import Call, Outcome, Versions, Work
from orchestrator.cluster.node.pool import HOST


class Hello(NamedTuple):
    """What a worker process of Dask says of itself."""

    versions: tuple[tuple[int, int], str]
    """A `Versions`, readable whatever came of that class."""
    host: str
    pid: int


def hello() -> Hello:
    """Return what the program asks when it connects."""
    return Hello(tuple(Versions.here()), HOST, os.getpid())  # type: ignore[arg-type]


def given(call: Call) -> Call:
    """Return a call: a task of its own, so that Dask makes it again where it is lost."""
    return call


def run(call: Call, work: Work) -> Outcome:
    """Run a chunk in the node pool of this process."""
    return serve.run(call, work, get_worker().state.nthreads)
