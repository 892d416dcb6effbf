"""An initializer whose failure is logged in the worker, as `concurrent.futures` does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workers.process.leaving import run_exit_functions


@dataclass(frozen=True, slots=True)
class LoggedInitializer:
    """Calls the initializer.

    What it raises is logged before the pool hears of it.
    """

    initializer: Callable[..., object]

    def __call__(self, *args: Any) -> None:
        """Call it, in the worker."""
        try:
            self.initializer(*args)
        except BaseException:
            logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
            run_exit_functions()  # so that what was logged into a queue has been sent
            raise
