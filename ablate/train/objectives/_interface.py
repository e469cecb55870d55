"""What an objective is.

Shapes: B conversations, K places that some of them learn from, V vocabulary, n samples.
"""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ablate.data.batch import IGNORE_INDEX
from ablate.model.token_losses import token_losses


class Objective:
    """A mean over a batch's samples of a loss of what a model predicts.

    A subclass has one of two methods: `mean`, where all it asks of a prediction is how dear each
    token was, or `__call__` for any other. For the first no logits are kept (`token_losses`).

    A step's batch is cut up, by memory and by devices; the loss of each piece counts by the sum of
    its samples' `weights`, so that what is learnt does not depend on the cuts.

    `of_pairs`: whether a sample is a pair of conversations with the same prompt, of which the first
    is better. They follow each other in the batch, and both methods are given `reference` last:
    what they take first, of the model before the stage.

    `of_experts`: whether it teaches the language model to name experts. It is given in their place
    what is said of the experts of each image, their losses, and the image's share in the mean: see
    `ablate.model.routing.Weighed`.
    """

    of_pairs: ClassVar[bool] = False
    of_experts: ClassVar[bool] = False

    @property
    def by_token(self) -> bool:
        """Whether each token's loss is all that it asks for."""
        return type(self).__call__ is Objective.__call__

    def weights(self, learnt: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """How much each sample counts in the mean, by the number of tokens learnt in it.

        (n,) to (n,), above 0 in sum. By default that number: each token counts the same.
        """
        return learnt

    def __call__(self, logits: Tensor, targets: Tensor, reference: Tensor | None = None) -> Tensor:
        """The mean loss, (), of logits (B,K,V) in any precision and targets (B,K).

        A target is `IGNORE_INDEX` where nothing is learnt; without any other, the loss is 0.
        """
        before = [] if reference is None else [token_losses(reference, targets)]
        return self.mean(token_losses(logits, targets), targets, *before)

    def mean(self, losses: Tensor, targets: Tensor) -> Tensor:
        """The same, (), of the cross-entropy (B,K) of each token, 0 where nothing is learnt."""
        raise NotImplementedError

    @staticmethod
    def learnt(targets: Tensor) -> Tensor:
        """(B,K) bool: the places that are learnt from."""
        return targets != IGNORE_INDEX
