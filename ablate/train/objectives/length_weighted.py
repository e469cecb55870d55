"""Cross-entropy of answers in which a long one counts less for each token (InternVL 2.5).

Shapes: B conversations, K places that some of them learn from, n samples.

Chen et al. 2024 (InternVL 2.5, arXiv 2412.05271), "Loss Reweighting": a token of a sample in which
x are learnt counts x^-power. With power 0 all tokens count the same (`sft`), with 1 all samples;
theirs is 0.5, "square averaging". A sample is a conversation with all its answers.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ablate.errors import UserError
from ablate.train.objectives import Objective


class LengthWeighted(Objective):
    """Mean cross-entropy over the tokens learnt, each counted by its sample's length.

    power: from 0 to 1; UserError for another.
    """

    def __init__(self, *, power: float = 0.5) -> None:
        if not 0 <= power <= 1:
            raise UserError(f"power of length_weighted is from 0 to 1, got {power}")
        self.power = power

    def weights(self, learnt: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        return np.where(learnt > 0, learnt.astype(float) ** (1 - self.power), 0.0)

    def mean(self, losses: Tensor, targets: Tensor) -> Tensor:
        learnt = self.learnt(targets)
        lengths = learnt.sum(1, keepdim=True).clamp(min=1)  # (B,1)
        weights = learnt * lengths.float() ** -self.power  # (B,K)
        return (losses * weights).sum() / weights.sum().clamp(min=1e-12)
