"""Limits the threads of BLAS, OpenMP and the like in a worker to its share of the CPUs.

Libraries read the environment when they are loaded; those that a fork server has loaded already are told by a call.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Mapping

_GENERAL = "OMP_NUM_THREADS"
_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_FALL_BACK = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
"""Where these are not set, their libraries go by OMP_NUM_THREADS."""
_SHARED = "ENABLE_IPC"
"""TBB counts no threads by a variable; with this one, all processes together use as many as there are CPUs."""
_found: tuple[int, list[str]] = (0, [])
"""How many modules were loaded when the libraries were looked for, and which there were."""
_SETTERS = (
    "openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "scipy_openblas_set_num_threads64_",
    "MKL_Set_Num_Threads",
    "bli_thread_set_num_threads",
)


def limited(environ: Mapping[str, str], threads: int | None, share: int) -> dict[str, str]:
    """Return the environment of a worker.

    Args:
        environ: the program's; what it says is kept, unless the pool was asked for a number.
        threads: what the pool was asked for; 0: no limits; None: a fair share.
        share: the fair share, at least 1.
    """
    found = dict(environ)
    if threads == 0:
        return found
    for name in (_GENERAL, *_VARIABLES):
        if threads is not None:
            found[name] = str(threads)
        elif name not in environ and not (name in _FALL_BACK and _GENERAL in environ):
            found[name] = str(share)
    found.setdefault(_SHARED, "1")
    return found


def limit_loaded() -> None:
    """Tell the libraries that are loaded in this process already what the environment says."""
    libraries = loaded()
    if not libraries:
        return
    general = os.environ.get(_GENERAL, "")
    blas = next((value for name in _FALL_BACK if (value := os.environ.get(name))), general)
    with contextlib.suppress(ValueError):
        threads = int(blas or general)
        with contextlib.suppress(Exception):
            import threadpoolctl  # noqa: PLC0415 - where it is installed, it knows more libraries

            threadpoolctl.threadpool_limits(threads)
            return
        for path in libraries:
            _limit(path, threads)


def loaded() -> list[str]:
    """Return the files of the libraries with threads of their own that this process has mapped.

    They are looked for again once further modules are loaded: a forked worker finds what the program has found.
    """
    global _found  # noqa: PLW0603 - one a process
    modules = len(sys.modules)
    if _found[0] != modules:
        _found = modules, _mapped()
    return _found[1]


def _mapped() -> list[str]:
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:  # noqa: PTH123
            paths = {line.split(maxsplit=5)[-1].strip() for line in maps if "/" in line}
    except OSError:
        return []
    words = ("openblas", "mkl_rt", "libblis", "libgomp", "libiomp", "libomp")
    return [path for path in paths if any(word in os.path.basename(path) for word in words)]  # noqa: PTH119


def _limit(path: str, threads: int) -> None:
    with contextlib.suppress(OSError):
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD)
        for name in _SETTERS:
            setter = getattr(library, name, None)
            if setter is not None:
                setter(threads)
