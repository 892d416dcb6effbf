"""The names that other pools use, each with ours, for error messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

from workers.errors.nearest import did_you_mean

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")

POOL_ARGUMENTS = {
    "processes": "workers=",
    "max_workers": "workers=",
    "n_jobs": "workers=",
    "maxtasksperchild": "items_per_worker=",
    "max_tasks_per_child": "items_per_worker=",
    "worker_lifespan": "items_per_worker=",
    "context": 'start_method="spawn"',
    "mp_context": 'start_method="spawn"',
}
MAP_ARGUMENTS = {
    "chunksize": "chunk=",
    "chunk_size": "chunk=",
    "batch_size": "chunk=",
    "progress_bar": "progress=True",
    "callback": "a loop over the results",
    "buffersize": "buffer_bytes= of the Pool",
}
METHODS = {
    "imap": "map(fn, items)",
    "imap_unordered": "map(fn, items, ordered=False)",
    "map_async": "map(fn, items), which is lazy, or submit",
    "starmap": "map(fn, xs, ys)",
    "starmap_async": "map(fn, xs, ys)",
    "apply": "submit(fn, *args).result()",
    "apply_async": "submit(fn, *args), a Future",
    "schedule": "submit(fn, *args), a Future",
    "join": "close()",
    "stop": "terminate()",
    "shutdown": "close(), or terminate() to cancel what is left",
}


def refuse_peer_arguments(
    function: str, names: Mapping[str, str]
) -> Callable[[Callable[_Args, _Result]], Callable[_Args, _Result]]:
    """Make a function answer other pools' arguments with a TypeError that names ours."""

    def decorate(called: Callable[_Args, _Result]) -> Callable[_Args, _Result]:
        @wraps(called)
        def checked(*args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
            if not names.keys().isdisjoint(kwargs):
                theirs = next(name for name in kwargs if name in names)
                raise TypeError(f"{function} has no argument {theirs!r}; use {names[theirs]}")
            return called(*args, **kwargs)

        return checked

    return decorate


def missing_attribute(name: str, known: Iterable[str]) -> AttributeError:
    """Return the error for a method that a pool lacks, naming ours or the nearest."""
    hint = f"; use pool.{METHODS[name]}" if name in METHODS else did_you_mean(name, known)
    return AttributeError(f"'Pool' object has no attribute {name!r}{hint}")
