"""What a training stage does at each step: which parts learn, and how fast."""

import math
from typing import Annotated

from pydantic import Field

from ablate.catalog.parts import Part
from ablate.design.recipe import TrainingConfig, partly


class Plan(TrainingConfig):
    """How a stage trains, as a step's spec holds it, and what follows for each of its steps.

    In the first `warm_projector` steps the projector learns alone, but for an injection; the
    others' schedule starts after them. `share`: how much of the stage is trained.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 1.0

    def in_half(self, device: str) -> bool:
        """Whether a device computes in bfloat16."""
        return self.precision == "bf16" or (self.precision == "auto" and device.startswith("cuda"))

    def length(self, steps: int) -> int:
        """How many of the stage's `steps` are done."""
        return partly(steps, self.share)

    def learning(self, step: int) -> frozenset[str]:
        """The parts that learn at `step`, counted from 0."""
        return frozenset(part for part in self.rates if step >= self._start(part))

    def rate(self, part: Part, step: int, steps: int) -> float:
        """The learning rate of `part` at `step` of a stage of `steps`.

        Rises in a line over the share `warmup` of the part's steps (not from 0: no step is idle).
        Then `constant` stays, and `cosine` falls to 0 along half a cosine. `wsd` stays, too, until
        it falls to 0 as one minus the square root of how far it is in the last `decay` of its steps
        (warm-up, stable, decay: MiniCPM, arXiv 2404.06395; so falling: Haegele et al., 2405.18392).
        0 before the part begins to learn.

        Where a `share` is trained, `constant` and `wsd` warm up as all of the stage does, and so do
        the same in their `trunk`; `cosine` does it all in fewer steps.
        """
        end = self.length(steps)
        start, highest = self._start(part), self.rates[part]
        here, length = step - start, (end if self.schedule == "cosine" else steps) - start
        if here < 0:
            return 0.0
        rising = math.ceil(self.warmup * length)
        rate = highest * (here + 1) / (rising + 1) if here < rising else highest
        if self.schedule == "cosine" and here >= rising:
            return rate * 0.5 * (1 + math.cos(math.pi * (here - rising) / (length - rising)))
        if self.schedule == "wsd" and step > (stable := self.trunk(end)):
            return rate * (1 - math.sqrt((step - stable) / (end - stable)))
        return rate

    def _start(self, part: str) -> int:
        return 0 if part in ("projector", "injection") else self.warm_projector
