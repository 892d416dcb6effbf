"""Decides when a run stops early, in GNU parallel's grammar (`--halt`).

Pure: outcomes in, a decision out.

never | WHEN,WHY=N | WHEN,WHY=N%          WHEN: soon, now          WHY: fail, success, done
old:  0 never   1 soon,fail=1   2 now,fail=1   -1 soon,success=1   -2 now,success=1   N% soon,fail=N%
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.errors import ConfigError

_OLD = {"0": "never", "1": "soon,fail=1", "2": "now,fail=1", "-1": "soon,success=1", "-2": "now,success=1"}
_LEAST_OF_UNKNOWN = 3
"""Where nobody knows how many there will be, a share of those so far means nothing before so many."""
_SAID = {"fail": "failed", "success": "succeeded", "done": "finished"}


@dataclass(frozen=True, slots=True)
class Halt:
    """The condition of `--halt`."""

    when: str
    """"never"; "soon": nothing new is begun, what runs may finish; "now": what runs is ended."""
    why: str = "fail"
    """What is counted: "fail", "success" or "done"."""
    number: int = 0
    percent: bool = False
    """Whether `number` is a share of all, in percent."""

    def __str__(self) -> str:
        if self.when == "never":
            return "never"
        return f"{self.when},{self.why}={self.number}{'%' if self.percent else ''}"


NEVER = Halt("never")


def parse_halt(text: str) -> Halt:
    """Parse the argument of `--halt`.

    Raises:
        ConfigError: it means nothing.
    """
    given = _OLD.get(text, text)
    given = re.sub(r"^(\d+%)$", r"soon,fail=\1", given)
    when, _, rest = given.partition(",")
    if when == "never":
        return NEVER
    if when not in {"soon", "now"}:
        raise ConfigError(f"invalid --halt {text!r}: use never, soon,fail=1 or now,fail=1 (also success=, done=, N%)")
    found = re.fullmatch(r"(fail|success|done)=(\d+)(%?)", rest, re.ASCII)
    if not found:
        raise ConfigError(f"invalid --halt {text!r}: after {when}, use fail=N, success=N or done=N (or N% for N)")
    return Halt(when, found[1], int(found[2]), bool(found[3]))


class HaltCount:
    """Counts outcomes until the run is to halt.

    Args:
        halt: what was asked for.
        total: how many there will be; None: nobody knows, then a share is one of those so far, once it is at least 3.
    """

    def __init__(self, halt: Halt, total: int | None) -> None:
        self.halt = halt
        self.reached = False
        """Whether the run is to halt; stays so."""
        self.total = total
        self._counts = {"fail": 0, "success": 0, "done": 0}

    def add(self, *, failed: int = 0, succeeded: int = 0) -> bool:
        """Count what has ended.

        Return whether the run is to halt.
        """
        counts = self._counts
        counts["fail"] += failed
        counts["success"] += succeeded
        counts["done"] += failed + succeeded
        if self.halt.when != "never" and counts[self.halt.why] >= self._limit:
            self.reached = True
        return self.reached

    @property
    def _limit(self) -> float:
        """How many workers to use: at least one, whatever was asked for."""
        number = self.halt.number
        if not self.halt.percent:
            return max(1, number)
        if self.total is not None:
            return max(1.0, number * self.total / 100)
        return max(float(_LEAST_OF_UNKNOWN), number * self._counts["done"] / 100)

    def reason(self, what: str) -> str:
        """Say what made the run halt, as in "3 of 12 commands failed".

        `what` is what was counted.
        """
        of = self._counts["done"] if self.total is None else self.total
        so_far = " so far" if self.total is None else ""
        return f"--halt {self.halt}: {self._counts[self.halt.why]:,} of {of:,} {what}{so_far} {_SAID[self.halt.why]}"
