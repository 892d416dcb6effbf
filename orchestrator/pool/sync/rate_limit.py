"""The rate limit of `workers`, raising this package's own errors.

All state is in `workers.resources.rate_limit`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import workers.resources.rate_limit
from orchestrator.errors import ConfigError, ResourceTimeoutError
from workers.functions.steps import Steps


class RateLimit(workers.resources.rate_limit.RateLimit):  # noqa: D101 - the docstring is the other one's
    __doc__ = workers.resources.rate_limit.RateLimit.__doc__

    settings_error = ConfigError
    timeout_error = ResourceTimeoutError


def rated(function: Any, rate: float | RateLimit) -> Callable[..., Any]:
    """Return a function that keeps to a rate, in all workers together.

    Raises:
        ConfigError: it is not one function, or the rate is neither a number of calls a second nor a `RateLimit`.
    """
    if isinstance(function, Steps) or hasattr(function, "stages"):
        raise ConfigError(
            "rate is the pace of one function, not of a workflow: use a RateLimit in the function of the step that is "
            "to keep to it"
        )
    limit = rate if isinstance(rate, workers.resources.rate_limit.RateLimit) else RateLimit(rate)
    return workers.resources.rate_limit.Rated(function, limit)
