"""One call in the process that runs its function: its runner, and the state before each chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workers.functions.fused import FusedRunner
from workers.functions.fused_reading import RecordsRunner, reader_of
from workers.functions.runner import CallRunner, CallSpec
from workers.functions.steps import Steps
from workers.process import context, randomness

Runner = CallRunner | FusedRunner | RecordsRunner


def runner_of(spec: CallSpec, ask_file: Callable[[], tuple[str, str]]) -> Runner:
    """Return the runner of a call's function, loaded now if it is only named.

    `ask_file` is that of `Spill`.
    """
    function = spec.function
    load = getattr(type(function), "__load_in_worker__", None)
    if load is not None:
        load(function)
    if not isinstance(function, Steps):
        return CallRunner(spec)
    if reader_of(function) is None:
        return FusedRunner(spec, function, ask_file)
    return RecordsRunner(spec, function, ask_file)


def begin(call: Runner, message: Any) -> None:
    """Set the number of the attempt, and with a seed the items' random numbers.

    A chunk of fused steps is one item for that.
    """
    context.begin(message[0])
    if call.spec.seed is None:
        return
    if isinstance(call, CallRunner):
        call.begin_at(message[2])
    else:
        randomness.begin_item(*call.spec.seed, message[2])
