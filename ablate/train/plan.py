"""What a training stage does at each step: which parts learn, and how fast."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PARTS = ("encoders", "fusion", "projector", "llm")


@dataclass(frozen=True)
class Plan:
    """A stage as a step's spec holds it, every default resolved; see `ablate.config.study.Stage`.

    `train` gives the learning rate of each part that learns; the others stay frozen. In the first
    `warm_projector` steps the projector learns alone; the others' schedule starts after them.
    """

    steps: int | None
    epochs: float | None
    batch_size: int
    train: Mapping[str, float]
    weight_decay: float = 0.0
    warmup: float = 0.03
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float = 1.0
    max_length: int = 2048
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    warm_projector: int = 0
    group_by_length: bool = False
    prompt: Literal["chat", "plain"] = "chat"

    def learning(self, step: int) -> frozenset[str]:
        """The parts that learn at `step`, counted from 0."""
        return frozenset(part for part in self.train if step >= self._start(part))

    def rate(self, part: str, step: int, steps: int) -> float:
        """The learning rate of `part` at `step` of `steps`.

        Rises in a line over the share `warmup` of the part's steps (not from 0: no step is idle),
        then stays, or falls to 0 along half a cosine. 0 before the part begins to learn.
        """
        start = self._start(part)
        here, length = step - start, steps - start
        if here < 0:
            return 0.0
        rising = math.ceil(self.warmup * length)
        if here < rising:
            return self.train[part] * (here + 1) / (rising + 1)
        if self.schedule == "constant":
            return self.train[part]
        turned = math.pi * (here - rising) / (length - rising)
        return self.train[part] * 0.5 * (1 + math.cos(turned))

    def _start(self, part: str) -> int:
        return 0 if part == "projector" else self.warm_projector
