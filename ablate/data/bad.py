"""Rows that cannot be used: named, counted, and passed over only as far as their source allows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ablate.errors import UserError

SHOWN = 5
"""Reasons that are kept of each source."""

LONGEST = 500
"""Characters of a reason that are shown."""


def reason(error: Exception) -> str:
    """What went wrong, in one line that any terminal can show, whatever a row has put into it."""
    message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    shown = message.strip().removesuffix(":")[:LONGEST] + "..." * (len(message) > LONGEST)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)


def identified(where: str, identity: str) -> str:
    """The name of a row: file and number, and its id if it has one."""
    return f"{where} (id {identity!r})" if identity else where


@dataclass
class ErrorBudget:
    """How many bad rows of a source may be passed over, how many were, and why the first were."""

    source: str
    allowed: int
    bad: int = 0
    reasons: list[str] = field(default_factory=list)

    def spend(self, bad: int, reasons: Sequence[str]) -> None:
        """Pass over `bad` more rows, of which `reasons` are the first. `UserError` if too many."""
        self.bad += bad
        self.reasons += reasons[: SHOWN - len(self.reasons)]
        if bad and self.bad > self.allowed:
            if self.allowed == 0:
                raise UserError(self.reasons[0])
            raise UserError(
                f"{self.source}: {self.bad:,} bad rows, but max_bad allows {self.allowed:,}; "
                f"the first: {self.reasons[0]}"
            )

    def to_json(self) -> dict[str, Any]:
        """Count and first reasons, as a step's record has them."""
        return {"count": self.bad, "first": self.reasons}
