"""Visual tokens go through linear layers of their own, copies of the blocks' at first (CogVLM).

B conversations, S tokens that the language model reads of each; V visual tokens in the contexts.

Wang et al. 2023 (arXiv 2311.03079), section 2.1: queries, keys, values, the attention's output and
the feed-forward layer of a visual token by its own weights; attention itself joint and causal.
Ours: tokens stand at positions of their own (CogVLM's share one), nothing stands around an image,
and the language model's own layers compute visual tokens, too, for nothing.
"""

import torch
from torch import Tensor, nn

from fusion_zoo.injections import Decoder, LinearShape, Seen
from fusion_zoo.injections._interface import every_nth
from fusion_zoo.injections._linears import LinearInjection, visual


class VisualExpert(LinearInjection):
    """every: in each so-manieth block, the first included (1 is all, as published)."""

    def __init__(self, llm: Decoder, *, every: int = 1) -> None:
        super().__init__(llm, every_nth(llm, every, first=0))

    def beside(self, shape: LinearShape) -> nn.Module:
        return nn.Linear(*shape)

    def start(self, block: int, name: str, weight: Tensor, bias: Tensor | None) -> None:
        layer = self.layer(block, name)
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            layer.weight.copy_(weight)
            if bias is not None:
                layer.bias.copy_(bias)

    def flops(self, tokens: int) -> int:
        shapes = (self.llm.blocks[block][name] for block, name in self.linears)
        return tokens * sum(2 * shape.inputs * shape.outputs for shape in shapes)

    def linear(self, block: int, name: str, x: Tensor, y: Tensor, seen: Seen) -> Tensor:
        made = self.layer(block, name)(visual(x, seen)).to(y.dtype)
        return y.flatten(0, 1).index_copy(0, seen.places, made).view_as(y)
