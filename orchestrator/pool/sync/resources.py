"""The resource pool of `workers`, raising this package's own errors.

All state is in `workers.resources.pool`.
"""

from __future__ import annotations

import workers.resources.pool
from orchestrator.errors import ClosedError, ConfigError, ResourceTimeoutError


class ResourcePool(workers.resources.pool.ResourcePool):  # noqa: D101 - the docstring is the other one's
    __doc__ = workers.resources.pool.ResourcePool.__doc__

    settings_error = ConfigError
    closed_error = ClosedError
    timeout_error = ResourceTimeoutError
