"""Low-rank updates of all linear layers of the blocks, for visual tokens alone (Partial LoRA).

B conversations, S tokens that the language model reads of each; V visual tokens in the contexts.

Dong et al. 2024 (InternLM-XComposer2, arXiv 2401.16420), section 3.1: W x + alpha / rank * B A x
where the token is visual, W x elsewhere. A is drawn as torch draws a linear layer, B is zero at the
start (in their released code it is not, against the paper).
"""

from torch import Tensor, nn

from fusion_zoo.injections import Decoder, LinearShape, Seen
from fusion_zoo.injections._linears import LinearInjection, visual


class PartialLora(LinearInjection):
    """rank, alpha: see above; dropout: the share of x that is dropped before A."""

    def __init__(
        self, llm: Decoder, *, rank: int = 256, alpha: float = 256.0, dropout: float = 0.05
    ) -> None:
        if rank < 1 or alpha <= 0 or not 0 <= dropout < 1:
            raise ValueError(
                f"rank {rank}, alpha {alpha}, dropout {dropout}: rank is at least 1, alpha above "
                "0, dropout from 0 to below 1"
            )
        self.rank, self.scale, self.dropout = rank, alpha / rank, dropout
        super().__init__(llm, tuple(range(len(llm.blocks))))

    def beside(self, shape: LinearShape) -> nn.Module:
        up = nn.Linear(self.rank, shape.outputs, bias=False)
        nn.init.zeros_(up.weight)
        down = nn.Linear(shape.inputs, self.rank, bias=False)
        return nn.Sequential(nn.Dropout(self.dropout), down, up)

    def flops(self, tokens: int) -> int:
        shapes = (self.llm.blocks[block][name] for block, name in self.linears)
        return tokens * sum(2 * self.rank * (shape.inputs + shape.outputs) for shape in shapes)

    def linear(self, block: int, name: str, x: Tensor, y: Tensor, seen: Seen) -> Tensor:
        added = (self.scale * self.layer(block, name)(visual(x, seen))).to(y.dtype)
        return y.flatten(0, 1).index_add(0, seen.places, added).view_as(y)
