"""Numbers that flags take."""

from __future__ import annotations

from orchestrator.errors import ConfigError


def seconds(flag: str, text: str) -> float:
    """Parse a flag that takes seconds.

    Raises:
        ConfigError: it is no such number.
    """
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise ConfigError(f"{flag} must be a number of seconds, not {text!r}")
    return found


def whole(flag: str, text: str, least: int, most: int | None = None) -> int:
    """Return the whole number that a flag was given.

    Raises:
        ConfigError: it is none, or outside its limits.
    """
    if text.isascii() and text.isdecimal() and int(text) >= least and (most is None or int(text) <= most):
        return int(text)
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise ConfigError(f"{flag} must be a whole number {limits}, not {text!r}")
