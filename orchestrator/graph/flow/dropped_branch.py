"""What a report says of a branch that failed while the others continued."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DroppedBranch:
    """A branch that failed while the others continued."""

    broadcast: str
    """The node that has the branch."""
    branch: int
    """Which one, from 0."""
    node: str
    """The node that failed."""
    error: str
    """The class and text of its exception."""

    def __str__(self) -> str:
        """Return it in one line."""
        return f"branch {self.branch} of {self.broadcast!r} was dropped: {self.node!r} raised {self.error}"
