"""Keeps a pool at the size that a file says, or that suits the machine.

Both look as a timer in the coordinator's one wait, so while somebody waits for results. Owner: the coordinator, under
its lock.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError
from orchestrator.machine.memory import SystemMemory, own_bytes
from orchestrator.pool.size.autosize import SHRINK_IDLE_CPUS, AutoSizer, Observation

if TYPE_CHECKING:
    from orchestrator.engine.protocol.engine import Engine
    from orchestrator.machine.cpu import CpuWatch
    from orchestrator.pool.size.sizing import Bounds, SizeFile, Sizing
    from orchestrator.settings import Memory

LOOK_S = 0.5
_LEAST_RESERVE = 128 * 2**20
"""How much memory to leave free; or a twentieth of all, if that is more."""


class FileFollower:
    """Resizes the pool to the number in a file, whenever that changes."""

    def __init__(self, file: SizeFile, coordinator: Engine) -> None:
        """Start looking."""
        self._file = file
        self._coordinator = coordinator
        self._timer = coordinator.start_timer(LOOK_S, self._poll)

    def hurry(self) -> None:
        """Look at once.

        Called from any thread, or from a signal handler.
        """
        self._timer.hurry()
        self._coordinator.wake()

    def stop(self) -> None:
        """Stop looking."""
        self._coordinator.cancel_timer(self._timer)

    def _poll(self) -> None:
        found = self._file.poll()
        if isinstance(found, int):
            _resize(self._coordinator, found)
        elif found is not None:
            size = self._coordinator.size
            self._coordinator.say(f"-j {self._file.path}: {found}; it stays at {size} workers")


class MachineFollower:
    """Resizes the pool between bounds, by the machine's idle resources and the workers' load."""

    def __init__(self, bounds: Bounds, coordinator: Engine, memory: Memory) -> None:
        """Start looking."""
        self._coordinator = coordinator
        self._memory = memory
        self._sizer = AutoSizer(bounds.least, bounds.most)
        self._cpus: CpuWatch | None = None
        self._timer = coordinator.start_timer(LOOK_S, self._poll)

    def hurry(self) -> None:
        """Do nothing, as no size file is followed."""

    def stop(self) -> None:
        """Stop looking."""
        self._coordinator.cancel_timer(self._timer)

    def _poll(self) -> None:
        if self._cpus is None:
            from orchestrator.machine.cpu import CpuWatch  # noqa: PLC0415 - psutil, only for pools that want to know

            self._cpus = CpuWatch()
            return
        size = self._sizer.judge(self._observe(self._cpus))
        if size != self._coordinator.size > 0:
            _resize(self._coordinator, size)

    def _observe(self, watch: CpuWatch) -> Observation:
        coordinator = self._coordinator
        pids = coordinator.worker_pids()
        idle, cpus = watch.poll()
        own = None
        if idle < SHRINK_IDLE_CPUS:
            own = watch.look_at_groups(set(pids))
        else:
            watch.forget_groups()
        return Observation(
            size=coordinator.size,
            working=coordinator.chunks_in_flight > 0,
            busy=coordinator.busy_workers / max(1, len(pids)),
            idle_cpus=idle,
            own_cpus=own,
            others_cpus=max(0.0, cpus - idle - (own or 0.0)),
            memory_left=self._memory.available_bytes(),
            reserve=max(self._memory.total_bytes() // 20, _LEAST_RESERVE),
            worker_bytes=max(map(own_bytes, pids), default=0),
        )


def _resize(coordinator: Engine, size: int) -> None:
    with suppress(OrchestratorError):  # of a pool that is being closed, or can't continue: who uses it is told
        coordinator.resize(size)


def follower_of(
    sizing: Sizing, coordinator: Engine, memory: Memory | None
) -> FileFollower | MachineFollower | None:
    """Return what keeps a pool at its size, or None if that is fixed."""
    if sizing.file is not None:
        return FileFollower(sizing.file, coordinator)
    return None if sizing.auto is None else MachineFollower(sizing.auto, coordinator, memory or SystemMemory())
