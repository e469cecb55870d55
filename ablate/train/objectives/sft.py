"""Cross-entropy of each token of the answers, the same for all (supervised fine-tuning).

Shapes: B conversations, K places that some of them learn from, V vocabulary.

The mean over the tokens of the whole batch, as published for LLaVA (Liu et al. 2023) and Eagle.
"""

from torch import Tensor
from torch.nn import functional as F

from ablate.data.batch import IGNORE_INDEX
from ablate.train.objectives import Objective


class Sft(Objective):
    """Mean cross-entropy over the tokens learnt."""

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        loss = F.cross_entropy(
            logits.flatten(0, 1).float(),
            targets.flatten(),
            ignore_index=IGNORE_INDEX,
            reduction="sum",
        )
        return loss / self.learnt(targets).sum().clamp(min=1)
