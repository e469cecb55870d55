"""Learned queries read the tokens by BLIP-2's Q-Former; with instruction, InstructBLIP's.

Li et al. 2023 (arXiv 2301.12597), Dai et al. 2023 (2305.06500); see `_querying` for what is ours.
B batch, N tokens, C channels, Q queries, W width, D width of the language model.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from fusion_zoo import Instruction, Segment
from fusion_zoo.connectors._interface import EachSegment, Grid, SegmentLayer
from fusion_zoo.connectors._querying import QueryingTransformer


class Qformer(EachSegment):
    """`queries` tokens of every segment, each by a Q-Former of its own, then one Linear.

    inner, layers, heads: width and shape, BERT-base's; every: a layer in so many looks at the
    image. instruction: whether the queries see what is asked, in self-attention.
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
        instruction: bool = False,
    ) -> None:
        super().__init__(segments, grids, width)
        self.asks_instruction = instruction
        text = width if instruction else 0
        self.connect(
            [
                _Queried(
                    segment,
                    width,
                    QueryingTransformer(
                        queries,
                        segment.channels,
                        inner,
                        layers=layers,
                        heads=heads,
                        every=every,
                        text=text,
                    ),
                )
                for segment in self.segments
            ]
        )


class _Queried(SegmentLayer):
    def __init__(self, segment: Segment, width: int, former: QueryingTransformer) -> None:
        super().__init__()
        self.former = former
        self.num_tokens, inner = former.size
        self.projection = nn.Linear(inner, width)
        self.read = segment.tokens

    def flops(self, text_tokens: int = 0) -> int:
        last = self.num_tokens * self.projection.in_features * self.projection.out_features
        return self.former.flops(self.read, text_tokens) + 2 * last

    def forward(self, tokens: Tensor, context: Instruction | None = None) -> Tensor:
        queried: Tensor = self.projection(self.former(tokens, context))
        return queried
