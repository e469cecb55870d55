"""Cross-entropy of each token of the answers, the same for all (supervised fine-tuning).

Shapes: B conversations, K places that some of them learn from.

The mean over the tokens of the whole batch, as published for LLaVA (Liu et al. 2023) and Eagle.
"""

from torch import Tensor

from ablate.train.objectives import Objective


class Sft(Objective):
    """Mean cross-entropy over the tokens learnt."""

    def mean(self, losses: Tensor, targets: Tensor) -> Tensor:
        return losses.sum() / self.learnt(targets).sum().clamp(min=1)
