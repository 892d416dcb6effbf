"""The process state that a worker takes over: the coordinator's when the worker is started.

A fork server has that of the moment when it was started itself. `Moment.now` runs in the coordinator, `take_over` in
the worker, before any code of the program's.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

_LIMITS = tuple(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_"))


class Moment(NamedTuple):
    """The process state that a child would inherit if it was forked now."""

    environ: dict[str, str]
    umask: int | None
    """None, here and below: it is inherited, or the system doesn't tell (a umask without changing it)."""
    nice: int | None
    affinity: tuple[int, ...] | None
    limits: dict[int, tuple[int, int]]
    stdout: Any
    """What `multiprocessing` duplicates a descriptor by; None: it is closed, or inherited as it is."""
    stderr: Any

    @classmethod
    def inherited(cls, environ: dict[str, str]) -> Moment:
        """Return the state of a process that inherits everything else from this one."""
        return cls(environ, None, None, None, {}, None, None)

    @classmethod
    def now(cls, environ: dict[str, str], stdout: Any, stderr: Any) -> Moment:
        """Return the state of this process."""
        limits = {}
        for number in _LIMITS:
            with contextlib.suppress(OSError, ValueError):
                limits[number] = resource.getrlimit(number)
        affinity = tuple(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        return cls(environ, _umask(), nice, affinity, limits, stdout, stderr)

    def take_over(self) -> None:
        """Give this process that state, as far as it may."""
        before = dict(os.environ)
        for name in before.keys() - self.environ.keys():
            del os.environ[name]
        os.environ.update(self.environ.items() - before.items())  # most are the same
        if before.get("TZ") != self.environ.get("TZ"):
            time.tzset()
        if self.umask is not None:
            os.umask(self.umask)
        with contextlib.suppress(OSError):
            if self.nice is not None and self.nice != os.getpriority(os.PRIO_PROCESS, 0):
                os.setpriority(os.PRIO_PROCESS, 0, self.nice)
        with contextlib.suppress(OSError):
            if self.affinity is not None and set(self.affinity) != os.sched_getaffinity(0):
                os.sched_setaffinity(0, self.affinity)
        for number, limit in self.limits.items():
            with contextlib.suppress(OSError, ValueError):
                if resource.getrlimit(number) != limit:
                    resource.setrlimit(number, limit)
        for fd, given in ((1, self.stdout), (2, self.stderr)):
            if given is not None:
                with contextlib.suppress(OSError):
                    duplicate = given.detach()
                    os.dup2(duplicate, fd)
                    os.close(duplicate)


def changed(environ: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return an environment with some variables set, and those unset that are to be None."""
    found = {**environ, **changes}
    return {name: value for name, value in found.items() if value is not None}


def _umask() -> int | None:
    try:
        with open("/proc/self/status", "rb", buffering=0) as status:  # noqa: PTH123
            _, told, rest = status.read(4096).partition(b"\nUmask:")
            return int(rest.split(maxsplit=1)[0], 8) if told else None
    except OSError:
        return None
