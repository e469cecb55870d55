"""What a training stage does at each step: which parts learn, and how fast."""

import math

from ablate.catalog.parts import Part
from ablate.design.recipe import TrainingConfig


class Plan(TrainingConfig):
    """How a stage trains, as a step's spec holds it, and what follows for each of its steps.

    In the first `warm_projector` steps the projector learns alone; the others' schedule starts
    after them.
    """

    def learning(self, step: int) -> frozenset[str]:
        """The parts that learn at `step`, counted from 0."""
        return frozenset(part for part in self.train if step >= self._start(part))

    def rate(self, part: Part, step: int, steps: int) -> float:
        """The learning rate of `part` at `step` of `steps`.

        Rises in a line over the share `warmup` of the part's steps (not from 0: no step is idle),
        then stays, or falls to 0 along half a cosine. 0 before the part begins to learn.
        """
        start, highest = self._start(part), self.train[part]
        here, length = step - start, steps - start
        if here < 0:
            return 0.0
        rising = math.ceil(self.warmup * length)
        if here < rising:
            return highest * (here + 1) / (rising + 1)
        if self.schedule == "constant":
            return highest
        turned = math.pi * (here - rising) / (length - rising)
        return highest * 0.5 * (1 + math.cos(turned))

    def _start(self, part: str) -> int:
        return 0 if part == "projector" else self.warm_projector
