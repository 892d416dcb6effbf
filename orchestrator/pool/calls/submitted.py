"""A submitted call: pickled before `submit` returns, with the options that it runs under."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from orchestrator.engine.recovery.item_errors import NamedItem
from orchestrator.errors import ConfigError
from orchestrator.settings import MapOptions, Retries, retries_by_name
from workers.errors.describe import describe, short_name
from workers.pickling import by_value, memmap
from workers.transport import payload
from workers.transport.sent_item import SentItem
from workers.transport.submission import Submission, run_submission

PLAIN = MapOptions(ordered=False, chunk=1, on_error="return", prompt=True)
"""How calls run that were submitted without options."""
_MOST_SHOWN = 6
_SHOWN = 40
"""Arguments that a message shows of a call, and characters of each."""
OPTION_NAMES = frozenset(("timeout", "retries", "priority"))
"""Arguments of `submit` that are options of the call, unless the function has a parameter of that name."""


class SubmittedCall(NamedItem):
    """One call as it was when it was submitted.

    What its caller changes later changes nothing in it.
    """

    __slots__ = ("_function", "_sent", "kind", "options", "submission")

    def __init__(
        self, submission: Submission, options: MapOptions, function: Callable[..., Any], *, stays: bool = False
    ) -> None:
        """Pickle the call, unless it stays in this process.

        Runs in the caller's thread.

        Raises:
            Exception: whatever says best why it can't be pickled.
        """
        self.submission = submission  # kept: what it shares (`Pool.share`) lives as long as its handle here
        self.options = options
        self._function = function  # for messages: the submission may have a pickle of it only
        self.kind = _kind(options)
        self._sent = None if stays else _sent(submission)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Unpickle to the submission itself."""
        return (self._sent or _sent(self.submission)).__reduce_ex__(protocol)

    def __repr__(self) -> str:
        """Return the function's name and the arguments."""
        return self.describe()

    def describe(self) -> str:
        """Return "call of work(3, k=4)", bounded, without running code of the arguments."""
        args, kwargs = self.submission.args, self.submission.kwargs
        shown = [describe(arg, _SHOWN) for arg in args[:_MOST_SHOWN]]
        named = list(kwargs.items())[: max(0, _MOST_SHOWN - len(shown))]
        shown += [f"{describe(name, _SHOWN)[1:-1]}={describe(value, _SHOWN)}" for name, value in named]
        more = ["…"] if len(args) + len(kwargs) > len(shown) else []
        name = short_name(self._function) or describe(self._function)
        return f"call of {name}({', '.join([*shown, *more])})"


def run_here(call: SubmittedCall) -> Any:
    """Make a call that stays in this process."""
    return run_submission(call.submission)


def options_of(
    timeout: float | None = None, retries: Retries = 0, retry_delay: float = 0.0, *, at_most_once: bool = False
) -> MapOptions:
    """Return the options of a call, checked.

    Raises:
        ConfigError: one of them can't be used.
    """
    if timeout is None and at_most_once is False and _is_zero(retries) and _is_zero(retry_delay):
        return PLAIN
    return replace(PLAIN, timeout_s=timeout, retries=retries, retry_delay_s=retry_delay, at_most_once=at_most_once)


def _is_zero(value: object) -> bool:
    """Whether this is 0 of a plain type.

    `MapOptions` checks anything else.
    """
    return type(value) in {int, float} and not value


def check_priority(priority: object) -> None:
    """Raise ConfigError if this is not a priority."""
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise ConfigError(f"priority must be a whole number, higher ones run first; not {describe(priority)}")


def take_options(fn: Callable[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Remove the options of the call from the keyword arguments of `submit`, and return them."""
    named = OPTION_NAMES & kwargs.keys()
    if not named:
        return {}
    try:
        own = inspect.signature(fn).parameters
    except (ValueError, TypeError):  # some builtins tell nothing
        own = {}  # type: ignore[assignment]
    variable = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY}
    return {name: kwargs.pop(name) for name in named if name not in own or own[name].kind in variable}


def _kind(options: MapOptions) -> object:
    """Return the key of calls that can run as items of one stage."""
    if options is PLAIN:
        return None
    retries = retries_by_name(options.retries)
    tries = retries if isinstance(retries, int) else tuple(retries.items())
    return options.timeout_s, tries, options.retry_delay_s, options.at_most_once


@memmap.sends_memmaps_by_name
def _sent(submission: Submission) -> SentItem:
    return SentItem(payload.encode(submission, by_value.dumps))
