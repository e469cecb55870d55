"""Gated cross-attention to the last image before some of the blocks (Flamingo, Otter).

B conversations, S tokens that the language model reads of each, M media, D width of both.

Alayrac et al. 2022 (arXiv 2204.14198), section 3.1, with the widths and layers of OpenFlamingo
(Awadalla et al. 2023): before each block whose number, from 1, is a multiple of `every`. Ours:
media are the connector's tokens, of width D, and no marker of an image stands in the text.
"""

from torch import Tensor, nn

from fusion_zoo.injections import Decoder, Injection, Seen
from fusion_zoo.injections._attention import GatedBlock, MediaAttention
from fusion_zoo.injections._interface import every_nth


class GatedCrossAttention(Injection):
    """No visual token in the context; both gates of a block are zero at the start.

    every: see above; heads, head_width: of the attention; last_image: a token sees the media of the
    last image before it alone, else those of all before it.
    """

    def __init__(
        self,
        llm: Decoder,
        *,
        every: int = 4,
        heads: int = 8,
        head_width: int = 64,
        last_image: bool = True,
    ) -> None:
        super().__init__(llm)
        if heads < 1 or head_width < 1:
            raise ValueError(f"{heads} heads of {head_width}: both are at least 1")
        self.runs = 0
        self.before_blocks = every_nth(llm, every, first=every - 1)
        self.last_image = last_image
        width = llm.width
        self.layers = nn.ModuleDict(
            {
                str(block): GatedBlock(
                    (nn.LayerNorm(width), nn.LayerNorm(width)),
                    MediaAttention(width, heads, heads, head_width),
                    nn.Sequential(
                        nn.Linear(width, 4 * width, bias=False),
                        nn.GELU(),
                        nn.Linear(4 * width, width, bias=False),
                    ),
                )
                for block in self.before_blocks
            }
        )
        self.inner = heads * head_width

    def flops(self, tokens: int) -> int:
        return len(self.layers) * tokens * 4 * self.llm.width * self.inner

    def token_flops(self, tokens: int) -> int:
        width = self.llm.width
        return len(self.layers) * (4 * self.inner * (width + tokens) + 16 * width**2)

    def before(self, block: int, hidden: Tensor, seen: Seen) -> Tensor:
        visible = seen.latest() if self.last_image else seen.before()
        changed: Tensor = self.layers[str(block)](hidden, seen.media, visible)
        return changed
