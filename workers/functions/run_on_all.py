"""The function of `Pool.run_on_all`, as a worker calls it.

Runs in the worker process. The step that runs now is the context's, from before the function's first line until
after its last; outside there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workers.errors.describe import describe_function
from workers.process import context
from workers.sync.barrier import Barrier
from workers.sync.collectives import Step
from workers.sync.exchange import Exchange, Where


class StepFunction:
    """Enters the step, runs the function, leaves the step."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.__qualname__ = describe_function(function)

    def __call__(self, barrier: Barrier, where: Where, ids: tuple[int, ...], arguments: tuple[Any, ...]) -> Any:
        """Run the function among the workers `ids`.

        The barrier is this process's already, since it was unpickled.
        """
        here = context.current()
        step = Step(barrier, Exchange(where, ids.index(here.id), len(ids)))
        here.step = step
        try:
            return self._function(*arguments)
        finally:
            here.step = None
            step.end()
