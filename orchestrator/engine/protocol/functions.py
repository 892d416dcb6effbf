"""Encodes a call's function for the workers once, by value where needed, and names it for messages.

Runs in the coordinator process, in the thread that opens the call. Nothing here holds state.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

from orchestrator.errors import ItemError
from workers.errors.describe import describe_function, short_name, text_of, type_name
from workers.errors.signal_handlers import is_of_a_handler
from workers.functions.runner import CallSpec
from workers.functions.steps import Steps
from workers.pickling import by_value, memmap
from workers.transport import payload


def name_of(function: object) -> str:
    """Return what messages call a function, or the names of steps that run as one."""
    if isinstance(function, Steps):
        return "+".join(function.names)
    return describe_function(function)


def label_of(function: Callable[..., Any] | Steps) -> str:
    """Return the name of a function or chain of steps for a status, or ""."""
    return "+".join(function.names) if isinstance(function, Steps) else short_name(function)


def encoded_function(spec: CallSpec) -> payload.Encoded:
    """Pickle a function once a call: by value, or by the name that `__main__` has for it."""
    return function_and_names(spec)[0]


@memmap.sends_memmaps_by_name
def function_and_names(spec: CallSpec) -> tuple[payload.Encoded, set[str]]:
    """Do as `encoded_function`, and return the names of `__main__` that loading it takes, too."""
    memmap.register()
    names: set[str] = set()
    try:
        data = _plainly(spec)
        if data is None:
            data, names = by_value.with_names(spec)
    except Exception as error:
        if is_of_a_handler(error):
            raise
        if isinstance(spec.function, Steps):
            name = f"one of the steps {', '.join(spec.function.names)}"
        else:
            name = f"the function {describe_function(spec.function)}"
        failure = ItemError(
            f"{name} can't be sent to the workers: {type_name(type(error))}: {text_of(error)}. "
            "Does it refer to a lock, an open file or a connection? Create that inside it, or in an initializer"
        )
        failure.__cause__ = error
        raise failure from error
    return payload.Encoded(data, (), len(data)), names


def _plainly(spec: CallSpec) -> bytes | None:
    """Return the plain pickle of a function of a module, or None if it has to go by value.

    What `__main__` defines may be defined anew while the call is open; and cloudpickle, once somebody has loaded it,
    may have been told about modules that are to go by value.
    """
    if "cloudpickle" in sys.modules:
        return None
    try:
        data = pickle.dumps(spec, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        if is_of_a_handler(error):
            raise
        return None
    return None if b"__main__" in data else data
