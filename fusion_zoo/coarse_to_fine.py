"""The language model names experts, and only these look at an image and are fused (MoVA).

B batch, E experts, Q tokens of the question, D width of the language model.

Zong et al. 2024 (MoVA), section 3.2: before any expert looks, the language model reads the image as
the base alone sees it, the instruction and the pool of experts, and answers which of them will
help, at most `keep`; experts that are not named are neither run nor fused. The fusion of those that
are is `expert_routing`. Exact is what a choice does to the fusion: the gate's scores of experts
that are not chosen fall by a million, and without any the experts' term is zero. Ours: pool and
question are learnt embeddings in the place of MoVA's text, and a linear layer on the state behind
them, in the place of letters, says of each expert whether it is named; what it is taught is told by
the objective `routing`, and while all parts learn each expert is chosen by a coin.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ._interface import LanguageShape, MapShape
from .expert_routing import ExpertRouting


class CoarseToFine(ExpertRouting):
    """H*W tokens of the base's channels; at most `keep` experts for each image and instruction.

    blocks: of the adapter; heads, head_width: of its attention, a head's width is a multiple of
    four.
    """

    asks_instruction: ClassVar[bool] = True
    names_experts: ClassVar[bool] = True

    def __init__(
        self,
        shapes: Sequence[MapShape],
        grid: tuple[int, int],
        llm: LanguageShape,
        *,
        blocks: int = 3,
        keep: int = 3,
        heads: int = 16,
        head_width: int = 64,
    ) -> None:
        super().__init__(
            shapes, grid, llm, blocks=blocks, keep=keep, heads=heads, head_width=head_width
        )
        experts = len(self.shapes) - 1
        self.keep = min(keep, experts)
        if experts:  # a token for each of the pool, and one that asks
            self.asking = nn.Parameter(0.02 * torch.randn(experts + 1, llm.width))
            self.naming = nn.Linear(llm.width, experts)
            nn.init.zeros_(self.naming.weight)
            nn.init.zeros_(self.naming.bias)

    @property
    def most_named(self) -> int:
        return self.keep

    def flops(self) -> int:
        return super().flops() + self._naming_flops()

    def named_flops(self) -> int:
        by_cost = sorted(self.shapes[1:], key=lambda shape: self._flops([shape]))
        dearest = by_cost[len(by_cost) - self.keep :]
        return self._flops(dearest) + self._flops([]) + self._naming_flops()

    def _naming_flops(self) -> int:
        return 2 * self.instruction_width * (len(self.shapes) - 1)

    def question(self) -> Tensor:
        return self.asking

    def scores(self, reading: Tensor) -> Tensor:
        scores: Tensor = self.naming(reading)
        return scores

    def named(self, scores: Tensor) -> Tensor:
        best = scores.topk(self.keep, dim=-1).indices
        return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, best, True) & (scores > 0)
