"""One Q-Former reads the tokens of all experts, and the instruction (BRAVE's MEQ-Former).

Kar et al. 2024 (arXiv 2404.07204), section 3: from the paper, no code is published. Ours: BLIP-2's
layers (`_querying`), of which the paper does not say how many look at the image, and no encoder
drop-out. B batch, Q queries, E inner width, D width of the language model; of segment i: N_i
tokens, C_i channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusion_zoo import Instruction, Segment
from fusion_zoo.connectors._interface import Connector, Grid
from fusion_zoo.connectors._querying import QueryingTransformer


class MeqFormer(Connector):
    """`queries` tokens for each segment, of all segments together.

    inner, layers, heads: width and shape, BERT-base's; every: a layer in so many looks at the
    image. instruction: whether the queries see what is asked, as published.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        grids: Sequence[Grid | None],
        width: int,
        *,
        queries: int = 32,
        inner: int = 768,
        layers: int = 12,
        heads: int = 12,
        every: int = 2,
        instruction: bool = True,
    ) -> None:
        super().__init__(segments, grids, width)
        if not self.segments:
            raise ValueError("the fusion makes no tokens for it")
        if inner < 1:
            raise ValueError(f"inner is at least 1: {inner}")
        self.asks_instruction = instruction
        self.num_tokens = queries * len(self.segments)
        self.enter = nn.ModuleList(nn.Linear(segment.channels, inner) for segment in self.segments)
        self.former = QueryingTransformer(
            self.num_tokens,
            inner,
            inner,
            layers=layers,
            heads=heads,
            every=every,
            text=width if instruction else 0,
        )
        self.read = nn.Linear(inner, width)
        self.inner = inner

    def flops(self, text_tokens: int = 0) -> int:
        total = 2 * self.num_tokens * self.inner * self.width
        total += sum(2 * n * channels * self.inner for n, channels in self.segments)
        return total + self.former.flops(sum(n for n, _ in self.segments), text_tokens)

    def forward(self, segments: Sequence[Tensor], context: Instruction | None = None) -> Tensor:
        entered = [layer(tokens) for layer, tokens in zip(self.enter, segments, strict=True)]
        queried: Tensor = self.read(self.former(torch.cat(entered, dim=1), context))
        return queried
