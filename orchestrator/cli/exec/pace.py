"""Decides whether one more command may begin: --delay, --load, --limit.

Owner of the state: the coordinator's thread.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.cli.exec.options.settings import PaceSettings

_LOOK_S = 1.0
"""A load, or a limit, that was too high is looked at again so much later."""


class Pace:
    """Holds commands back."""

    def __init__(self, settings: PaceSettings, shell: str) -> None:
        self._settings = settings
        self._shell = shell
        self._next_s = 0.0
        """No command begins before; by the monotonic clock."""

    @property
    def wait_s(self) -> float | None:
        """Seconds until one more may begin, or None if it may now."""
        left_s = self._next_s - time.monotonic()
        return left_s if left_s > 0 else None

    def may_begin(self) -> bool:
        """Tell whether one more may begin now."""
        if time.monotonic() < self._next_s:
            return False
        if self._is_loaded() or not self._is_allowed():
            self._next_s = time.monotonic() + _LOOK_S
            return False
        return True

    def begun(self) -> None:
        """Take note of a start."""
        self._next_s = time.monotonic() + self._settings.delay_s

    def _is_loaded(self) -> bool:
        return self._settings.load is not None and os.getloadavg()[0] > self._settings.load

    def _is_allowed(self) -> bool:
        limit = self._settings.limit
        if limit is None:
            return True
        return subprocess.run([self._shell, "-c", limit], stdin=subprocess.DEVNULL, check=False).returncode == 0
