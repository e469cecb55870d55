"""A bottleneck layer behind every second block, for all tokens (Lynx).

B conversations, S tokens that the language model reads of each, D its width.

Zeng et al. 2023 (arXiv 2307.02469), section 2.2, and their code: h + s Up(SiLU(Down(LN(h)))) after
the feed-forward layer's residual; weights N(0, 0.02), biases 0, s 1 at the start, so that the
language model is not at first what it was. All visual tokens stand in the context.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusion_zoo.injections import Decoder, Injection, Seen
from fusion_zoo.injections._interface import every_nth


class Adapters(Injection):
    """every: behind each so-manieth block, the first included; reduction: D by the bottleneck."""

    reads_text: ClassVar[bool] = True

    def __init__(self, llm: Decoder, *, every: int = 2, reduction: int = 2) -> None:
        super().__init__(llm)
        self.after_blocks = every_nth(llm, every, first=0)
        if not 1 <= reduction <= llm.width:
            raise ValueError(f"reduction is {reduction}; take 1 to the width, {llm.width}")
        self.bottleneck = llm.width // reduction
        self.layers = nn.ModuleDict(
            {str(block): Bottleneck(llm.width, self.bottleneck) for block in self.after_blocks}
        )

    def token_flops(self, tokens: int) -> int:
        return len(self.layers) * 4 * self.llm.width * self.bottleneck

    def after(self, block: int, hidden: Tensor, seen: Seen) -> Tensor:
        changed: Tensor = self.layers[str(block)](hidden)
        return changed


class Bottleneck(nn.Module):
    """(B,S,D) to the same: what goes through a narrower layer is added."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, inner)
        self.up = nn.Linear(inner, width)
        self.scale = nn.Parameter(torch.ones(1))
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        added = self.up(F.silu(self.down(self.norm(hidden))))
        changed: Tensor = hidden + (self.scale * added).to(hidden.dtype)
        return changed
