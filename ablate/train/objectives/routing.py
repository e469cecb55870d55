"""The language model learns to name the experts that lower the loss of the answer (MoVA).

Shapes: B conversations, I images, E experts, n samples.

After Zong et al. 2024 (MoVA, arXiv 2404.13046), whose labels say of each sample which experts lower
the language model's loss; neither data nor code of theirs are released. Ours is how they are made:
an expert helps where the loss of the conversation's answers with it alone is below that without
any, under the weights that there are, at the step itself. The loss is the binary cross-entropy of
each expert's score, the mean over experts, and over samples.
"""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from ablate.train.objectives import Objective


class Routing(Objective):
    """Its stage trains a fusion that names experts, and with it at most the language model."""

    of_experts: ClassVar[bool] = True

    def weights(self, learnt: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        return (learnt > 0).astype(float)

    def __call__(self, scores: Tensor, losses: Tensor, share: Tensor | None = None) -> Tensor:
        """Of scores (I,E) and losses (I,1+E), the first without any; share: (I,), the mean."""
        helps = (losses[:, 1:] < losses[:, :1]).float()
        wrong = F.binary_cross_entropy_with_logits(scores.float(), helps, reduction="none").mean(1)
        return wrong.mean() if share is None else (wrong * share).sum()
