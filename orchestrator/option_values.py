"""Checks of single option values.

A mistake is one ConfigError that names the option and says what to write.

What users pass may be of any type and size: a check runs no comparison that their class could define, and what it
returns is safe to compute with.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from orchestrator.errors import ConfigError
from workers.errors.describe import describe
from workers.errors.nearest import did_you_mean

MOST_SECONDS = 1e9
"""About 31 years: clocks, locks and selectors all take it."""
MOST_COUNT = 2**63 - 1
"""What `islice` and the like still take."""


def whole(
    name: str, value: object, least: int, most: int = MOST_COUNT, *, none: bool = False, otherwise: str = ""
) -> None:
    """Raise ConfigError unless this is a whole number in the range, or None where `none` allows it.

    `otherwise` is what else the option may be, for the message.
    """
    if value is None and none:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        other = "None" if none else otherwise
        other = f" or {other}," if other else ","
        raise ConfigError(f"{name} must be a whole number of at least {least}{other} not {describe(value)}")
    if value > most:
        raise ConfigError(f"{name} must be at most {most:,}, not {describe(value)}")


def seconds(name: str, value: object, *, zero: bool = False) -> float:
    """Return a duration as a float.

    Args:
        name: of the option.
        value: what the user wrote.
        zero: whether it may be 0; where it may not, None means that there is no limit.

    Raises:
        ConfigError: it is not a finite number of seconds, is negative, or longer than `MOST_SECONDS`.
    """
    number = _number(value)
    if not 0 <= number <= MOST_SECONDS or not (number or zero):
        least = "at least 0" if zero else "more than 0"
        none = "" if zero else " (None: no limit)"
        bounds = f"{least} and at most {MOST_SECONDS:,.0f} seconds{none}"
        raise ConfigError(f"{name} must be {bounds}, not {describe(value)}")
    return number


def wait_seconds(name: str, value: object) -> float | None:
    """Return how long a caller is willing to wait, at most `MOST_SECONDS`.

    None stays None.

    Raises:
        ConfigError: it is not a number.
    """
    if value is None:
        return None
    number = _number(value)
    if math.isnan(number):
        raise ConfigError(f"{name} must be a number of seconds, or None to wait forever, not {describe(value)}")
    return min(number, MOST_SECONDS)


def flag(name: str, value: object) -> None:
    """Raise ConfigError unless this is True or False."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be True or False, not {describe(value)}")


def one_of(name: str, value: object, choices: tuple[str, ...], otherwise: str = "") -> None:
    """Raise ConfigError unless this is one of these texts.

    `otherwise` is what else the option may be, for the message.
    """
    if not isinstance(value, str) or value not in choices:
        hint, other = did_you_mean(value, choices), f", or {otherwise}" if otherwise else ""
        raise ConfigError(f"{name} must be one of {', '.join(choices)}{other}, not {describe(value)}{hint}")


def arguments(name: str, value: Any) -> tuple[Any, ...]:
    """Return a sequence of arguments as a tuple.

    A single text is refused: a comma was forgotten.

    Raises:
        ConfigError: it is not a sequence.
    """
    if not isinstance(value, str | bytes | bytearray):
        with suppress(Exception):
            return tuple(value)
    raise ConfigError(f"{name} must be a tuple of arguments, such as {name}=(value,), not {describe(value)}")


def variables(name: object, value: object) -> dict[str, str | None]:
    """Return variables of an environment as a dict of name -> text, or None for those that are to be unset.

    Raises:
        ConfigError: it is no mapping of such, or the system takes no variable like one of them.
    """
    found: dict[str, str | None] | None = None
    with suppress(Exception):
        found = dict(value) if isinstance(value, Mapping) else None
    if found is None or not all(type(each) is str for each in found):
        such = 'such as {"OMP_NUM_THREADS": "1"}'
        raise ConfigError(f"{name} must be a dict of variables, {such}, not {describe(value)}")
    for variable, text in found.items():
        if not variable or "=" in variable or not _is_for_the_system(variable):
            raise ConfigError(f"{name} can't have a variable called {describe(variable)}; a name has no '=' and no NUL")
        if text is not None and not (type(text) is str and _is_for_the_system(text)):
            raise ConfigError(f"{name}[{variable!r}] must be a text, or None to unset it, not {describe(text)}")
    return found


def _is_for_the_system(text: str) -> bool:
    """Whether a text can be handed to the system: it has no NUL, and can be encoded."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def text_of_number(value: object) -> str | None:
    """Return the digits of a number of any type, or a text as it is.

    None: it is neither, or absurdly long.
    """
    if isinstance(value, str):
        return value if len(value) <= 1000 else None
    if isinstance(value, float):
        return repr(float(value))
    with suppress(Exception):
        number = operator.index(value)  # type: ignore[arg-type]
        return None if isinstance(value, bool) or number.bit_length() > 3000 else str(number)
    return None


def _number(value: object) -> float:
    """Return a number as a float: infinite if it is too large for one, NaN for anything else."""
    if isinstance(value, bool | str | bytes | bytearray):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf if isinstance(value, int) and value > 0 else -math.inf
    except Exception:
        return math.nan
