"""The better of two answers becomes likelier than the worse (direct preference optimisation).

Shapes: n pairs, B = 2n conversations, the better and the worse answer of a pair one after the
other; K places that some of them learn from.

Rafailov et al. 2023 (arXiv 2305.18290), equation 7: -log sigmoid(beta * ((b - b0) - (w - w0))), of
the log-probabilities of the better and worse answer, the sums over their tokens, by the model (b,
w) and by what it was before the stage (b0, w0). The mean over pairs.
"""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from ablate.errors import UserError
from ablate.train.objectives import Objective


class Dpo(Objective):
    """beta: how dear it is to move away from the model before the stage; UserError unless above 0.

    Its data are conversations that say in `rejected` what is worse than their last answer.
    """

    of_pairs: ClassVar[bool] = True

    def __init__(self, *, beta: float = 0.1) -> None:
        if beta <= 0:
            raise UserError(f"beta of dpo is above 0, got {beta}")
        self.beta = beta

    def weights(self, learnt: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        return (learnt > 0).astype(float)

    def mean(self, losses: Tensor, targets: Tensor, reference: Tensor | None = None) -> Tensor:
        """`reference`: the losses (B,K) of the model before the stage."""
        if reference is None:
            raise ValueError("dpo compares with the model before the stage: give its prediction")
        gained = (reference - losses).sum(1)  # (B,) in the logarithm of an answer's probability
        dear = -F.logsigmoid(self.beta * (gained[::2] - gained[1::2]))
        learnt = self.learnt(targets).any(1)
        counted = learnt[::2] | learnt[1::2]  # (n,)
        loss: Tensor = (dear * counted).sum() / counted.sum().clamp(min=1)
        return loss
