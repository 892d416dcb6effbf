"""Converts event times and lengths of time to seconds.

Owns no state.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from orchestrator.errors import ConfigError
from workers.errors.describe import describe, type_name

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a time without a zone is counted from here by its own clock
_PLAIN = {int, float}
KINDS = "seconds (a number or Decimal), a datetime or a timedelta"


def in_seconds(time: Any) -> float:
    """Return an event time in seconds.

    A datetime is counted from 1970-01-01 UTC; one without a zone from that day by its own clock, so that windows are
    the same on every machine.

    Raises:
        ValueError: it is none, or not finite; the text says what is taken.
    """
    if isinstance(time, datetime):
        return time.timestamp() if time.tzinfo is not None else (time - _EPOCH).total_seconds()
    if isinstance(time, timedelta):
        return time.total_seconds()
    try:
        seconds: float = time if type(time) in _PLAIN else float(time.__float__())
        if math.isfinite(seconds):
            return seconds
    except (ValueError, ArithmeticError):
        pass
    except Exception:
        raise ValueError(f"a {type_name(type(time))} is not an event time; give {KINDS}") from None
    raise ValueError("it is not a finite number of seconds")


def all_in_seconds(times: list[Any]) -> tuple[list[float], ValueError | None]:
    """Return event times in seconds, up to the first that is invalid, and why that is."""
    try:
        if _PLAIN.issuperset(map(type, times)) and all(map(math.isfinite, times)):
            return times, None
    except OverflowError:  # a whole number beyond all floats
        pass
    found: list[float] = []
    try:
        found.extend(map(in_seconds, times))
    except ValueError as error:
        return found, error
    return found, None


def length_in_seconds(length: Any, name: str, node: str) -> float:
    """Return a length of time in seconds.

    Raises:
        ConfigError: it is none.
    """
    if isinstance(length, datetime):
        raise ConfigError(f"{node}: {name} must be a duration, not a datetime; give seconds or a timedelta")
    try:
        return in_seconds(length)
    except ValueError:
        raise ConfigError(f"{node}: {name} must be seconds (a number) or a timedelta, not {describe(length)}") from None
