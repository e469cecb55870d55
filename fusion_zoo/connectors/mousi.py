"""Several tokens of an expert become one by a layer of its own, then a shared layer (MouSi).

Fan et al. 2024 (arXiv 2401.17221), section 3.2, its MLP fusion: from the paper, whose repository
holds no code. B batch, M tokens that become one, H inner width, D width of the language model; of
segment i: N_i tokens, C_i channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion_zoo import Segment
from fusion_zoo.connectors._interface import Connector, Grid


class Mousi(Connector):
    """ceil(N_i / patches) tokens of every segment, one after the other.

    patches: M, which follow one another in row-major order; the last token's are filled up with
    zeros (ours). inner: H, by default the language model's width.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        grids: Sequence[Grid | None],
        width: int,
        *,
        patches: int = 1,
        inner: int = 0,
    ) -> None:
        super().__init__(segments, grids, width)
        if patches < 1 or inner < 0:
            raise ValueError(f"patches {patches} are at least 1, and inner {inner} not below 0")
        if not self.segments:
            raise ValueError("the fusion makes no tokens for it")
        self.patches, self.inner = patches, inner or width
        self.num_tokens = sum(-(-n // patches) for n, _ in self.segments)
        if len(self.segments) == 1 and patches == 1:
            self.grid = self.grids[0]
        self.own = nn.ModuleList(
            nn.Linear(patches * channels, self.inner) for _, channels in self.segments
        )
        self.shared = nn.Linear(self.inner, width)

    def flops(self, text_tokens: int = 0) -> int:
        entered = sum(
            -(-n // self.patches) * self.patches * c * self.inner for n, c in self.segments
        )
        return 2 * (entered + self.num_tokens * self.inner * self.width)

    def forward(self, segments: Sequence[Tensor]) -> Tensor:
        made = [
            layer(
                F.pad(tokens, (0, 0, 0, -tokens.shape[1] % self.patches)).reshape(
                    len(tokens), -1, layer.in_features
                )
            )
            for layer, tokens in zip(self.own, segments, strict=True)
            if isinstance(layer, nn.Linear)
        ]
        tokens: Tensor = self.shared(F.gelu(torch.cat(made, dim=1)))
        return tokens
