"""The functions that a task of a cluster calls on a node, and the node pools of this process.

A node pool is made at its pool's first chunk. It ends when the program says so or is gone, when nothing has come for a
minute, or with this process.

Owner of the state: the process of the node, under `_lock`.
"""

from __future__ import annotations

import atexit
import os
import select
import threading
import time
from contextlib import suppress
from multiprocessing.util import Finalize

from orchestrator.cluster.node import lifeline
from orchestrator.cluster.node.code import CodeFile
from orchestrator.cluster.node.messages import Call, Outcome, Versions, Work
from orchestrator.cluster.node.pool import HOST, NodePool
from orchestrator.errors import ClosedError, OrchestratorError

IDLE_S = 60.0
_CLOSING_S = 10.0
_ENDED_KEPT = 64
_CALLED_OFF_KEPT = 1024
_HERE = object()

_lock = threading.Lock()
_Key = tuple[bytes, str]
"""The token of a pool, and the digest of the program's modules: others make other workers."""
_pools: dict[_Key, NodePool] = {}
_ended: dict[bytes, None] = {}
"""Pools that have ended lately: a task of theirs that comes late makes no new one."""
_called_off: dict[tuple[bytes, int], None] = {}
"""Chunks that were called off before they came, by the token of their pool."""
_follows = False
"""Whether the pools end with this process."""

Farewells = list[tuple[int, int, object, BaseException | None]]
"""What finalizers gave: (worker, pid, result, error)."""


def run(call: Call, work: Work, slots: int = 1) -> Outcome:
    """Run a chunk in a worker process of this node, and return what became of it.

    `slots` is how many tasks this process runs at once.
    """
    differing = skew(call.versions)
    if differing is not None:
        return Outcome("broken", HOST, os.getpid(), error=differing)
    with _lock:
        if _called_off.pop((call.token, work.ident), _HERE) is None:
            return Outcome("returned", HOST, os.getpid())
    while True:
        try:
            pool = _pool_of(call, slots)
        except OrchestratorError as error:
            return Outcome("broken", HOST, os.getpid(), error=error)
        if pool is None:
            return Outcome("returned", HOST, os.getpid())
        try:
            return pool.run(call, work)
        except ClosedError:  # it was idle for too long, at this very moment; a new one is made
            _forget(_key(call), pool)
        except OrchestratorError as error:
            return Outcome("broken", HOST, os.getpid(), error=error)


def skew(versions: tuple[tuple[int, int], str]) -> OrchestratorError | None:
    """Return the error of a program whose versions are not those of this node, or None."""
    theirs, ours = Versions(*versions), Versions.here()
    if theirs == ours:
        return None
    return OrchestratorError(
        f"the node {HOST} has {ours}, the program has {theirs}: code and pickles of one can't be read by the other; "
        "install the same versions on both"
    )


def end(token: bytes, timeout_s: float | None = None) -> Farewells:
    """End a pool's workers on this node, and return what their finalizers gave.

    `timeout_s` is how long they may take to leave. None: those that run something are ended at once, as nobody waits
    for its result.
    """
    with _lock:
        pools = [_pools.pop(key) for key in [*_pools] if key[0] == token]
        _ended[token] = None
        while len(_ended) > _ENDED_KEPT:
            del _ended[next(iter(_ended))]
    found: Farewells = []
    for pool in pools:
        in_time_s = 0.0 if pool.busy else _CLOSING_S
        found += pool.close(in_time_s if timeout_s is None else timeout_s)
    return found


def end_calls(token: bytes, oldest: int) -> None:
    """Stop what runs for calls of a pool before this one."""
    for pool in _of(token):
        pool.end_calls(oldest)


def call_off(token: bytes, ident: int) -> bool:
    """End the worker that runs a chunk, and return whether one does.

    If it has not come yet, it is given back when it does.
    """
    if any(pool.call_off(ident) for pool in _of(token)):
        return True
    with _lock:
        _called_off[token, ident] = None
        while len(_called_off) > _CALLED_OFF_KEPT:
            del _called_off[next(iter(_called_off))]
    return False


def _of(token: bytes) -> list[NodePool]:
    return [pool for key, pool in [*_pools.items()] if key[0] == token]


def _key(call: Call) -> _Key:
    return call.token, "" if call.code is None else call.code.digest


def _pool_of(call: Call, slots: int) -> NodePool | None:
    """Return the node pool, new if this is its first chunk.

    None: it was ended.
    """
    with _lock:
        if call.token in _ended:
            return None
        key = _key(call)
        pool = _pools.get(key)
        if pool is None:
            _end_others(call.token)
            pool = _pools[key] = NodePool(call.settings, slots, None if call.code is None else CodeFile(call.code))
            _end_with_process()
            line = lifeline.opened(call.settings.lifeline)
            watched = key, pool, line
            threading.Thread(target=_watch, args=watched, name="orchestrator-node", daemon=True).start()
        return pool


def _end_others(token: bytes) -> None:
    """End the idle workers of a pool that had other modules.

    Called under the lock.
    """
    for key in [key for key, pool in _pools.items() if key[0] == token and not pool.busy]:
        _pools.pop(key).terminate()


def _forget(key: _Key, pool: NodePool) -> bool:
    with _lock:
        known = _pools.get(key) is pool
        if known:
            del _pools[key]
        return known


def _watch(key: _Key, pool: NodePool, line: int | None) -> None:
    """Watch thread of a node pool: ends it when its program is gone, or has sent nothing for long."""
    poll = select.poll()
    if line is not None:
        poll.register(line, select.POLLIN)
    try:
        while _pools.get(key) is pool:
            left_s = IDLE_S if pool.busy else pool.used_s + IDLE_S - time.monotonic()
            if left_s <= 0:
                if _forget(key, pool):
                    with suppress(Exception):
                        pool.close(_CLOSING_S)
            elif line is None:
                pool.closing.wait(left_s)
            elif poll.poll(left_s * 1000):
                end(key[0])
    finally:
        if line is not None:
            os.close(line)


@atexit.register
def _end_all() -> None:
    """Kill all workers, as this process leaves and must not wait for them."""
    for pool in list(_pools.values()):
        pool.terminate()


def _end_with_process() -> None:
    """End the pools before the exit function of multiprocessing, which waits for all children. Once a process."""
    global _follows  # noqa: PLW0603 - one a process
    if not _follows:
        _follows = True
        Finalize(None, _end_all, exitpriority=100)


def _begin_anew() -> None:
    global _lock, _follows
    _lock, _follows = threading.Lock(), False
    _pools.clear()
    _ended.clear()
    _called_off.clear()


os.register_at_fork(after_in_child=_begin_anew)
