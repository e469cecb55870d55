"""What every strategy of search speaks of."""

from dataclasses import dataclass

from ablate.design import Candidate
from ablate.search.decision import Decision


@dataclass(frozen=True)
class Round:
    """One turn. `provisional`: its mixture hangs on a choice that is still open, so the candidates
    assume that the first of the pool wins. `decision`: None while open, or if all have failed.
    """

    number: int
    candidates: tuple[Candidate, ...]
    provisional: bool
    decision: Decision | None
