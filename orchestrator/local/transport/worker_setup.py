"""The setup of a worker: initializer and finalizer, with what they need of `__main__`.

It is pickled anew for each worker, at the moment when that is started: so it has the state of that moment, and what may
only be inherited (locks and queues of `multiprocessing`) is passed on as that library does it.

Runs in the coordinator process, under the coordinator's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from orchestrator.engine.protocol.main_definitions import offered
from orchestrator.errors import WorkerStartError
from workers import entry
from workers.errors.describe import text_of
from workers.errors.signal_handlers import is_of_a_handler
from workers.pickling import bindings, by_value, inheriting
from workers.pickling.main_module import Definition


class Beginning(NamedTuple):
    """The setup that all workers of a pool share."""

    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    finalizer: Callable[[], object] | None

    def of_worker(self) -> OfWorker:
        """Return its replacement in the start of one worker."""
        return OfWorker(self)


class OfWorker:
    """The setup of one worker.

    Pickled once, or twice if the fork server has to be started again.
    """

    def __init__(self, beginning: Beginning) -> None:
        self._beginning = beginning
        self.offered: list[Definition] = []
        """The definitions that were sent with it."""

    def pickled(self) -> entry.Beginning:
        """Pickle it now.

        Raises:
            WorkerStartError: it can't be pickled.
        """
        what = self._beginning
        data, names = None, inheriting.names_in(bindings.namespace())
        functions = (what.initializer, what.initargs, what.finalizer)
        if functions == (None, (), None) and not names:
            return entry.Beginning(None, [])
        try:
            if functions != (None, (), None):
                data, taken = by_value.with_names(functions)
                names |= taken
            self.offered = offered(names)
        except Exception as error:
            if is_of_a_handler(error):
                raise
            why = f"{type(error).__name__}: {text_of(error)}"
            raise WorkerStartError(
                f"the initializer, its arguments or the finalizer can't be sent to a worker: {why}"
            ) from error
        return entry.Beginning(data, self.offered)

    def __reduce__(self) -> Any:
        pickled = self.pickled()
        return entry.Beginning, (pickled.initializer, pickled.offered)
