"""How often a step is tried that does not come to its end, and when that is enough."""

from collections import Counter
from typing import Literal

from ablate.store.artifacts import Store
from ablate.store.lease import look
from ablate.store.steps import Step

End = Literal["lost", "stopped", "bad"]
LIMITS: dict[End, int] = {"lost": 3, "bad": 3, "stopped": 10}
"""Attempts in a row, without the step getting further than before, that end in this way: their
process died without a word; a parent's checksum did not hold; they had to go, as on a cluster that
takes machines away, which is no fault of the step's but must not go on for ever."""


class RetryPolicy:
    """The attempts that a driver saw end."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._vain: Counter[tuple[str, End]] = Counter()
        self._furthest: dict[str, int] = {}

    def exhausted(self, step: Step, end: End) -> str | None:
        """Take note that an attempt at the step ended; why there shall be no other, or None."""
        holding = look(self.store.leases(step))
        reached = holding.done if holding else 0
        if reached > self._furthest.get(step.key, 0):
            self._furthest[step.key] = reached
            for each in LIMITS:
                del self._vain[step.key, each]
        self._vain[step.key, end] += 1
        times = self._vain[step.key, end]
        return f"{times} times without getting further" if times >= LIMITS[end] else None
