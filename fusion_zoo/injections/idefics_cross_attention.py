"""Gated cross-attention in the language model's own widths, before every fourth block (Idefics).

B conversations, S tokens that the language model reads of each, M media, D width of both.

Laurencon et al. 2023 (OBELICS, arXiv 2306.16527), appendix B, as transformers' `idefics` computes
it: RMS norms, as many heads as the language model has, its SwiGLU. Ours: media are the connector's
tokens, of width D, and no marker of an image stands in the text.
"""

from torch import Tensor, nn

from fusion_zoo.injections import Decoder, Injection, Seen
from fusion_zoo.injections._attention import GatedBlock, MediaAttention, SwiGlu
from fusion_zoo.injections._interface import every_nth


class IdeficsCrossAttention(Injection):
    """No visual token in the context; both gates of a block are zero at the start.

    every: before each so-manieth block, the first included; norms: of each head's queries and keys.
    A token sees the media of the last image before it.
    """

    def __init__(self, llm: Decoder, *, every: int = 4, norms: bool = True) -> None:
        super().__init__(llm)
        self.runs = 0
        self.before_blocks = every_nth(llm, every, first=0)
        if llm.width % llm.heads:
            raise ValueError(f"a width of {llm.width} is not {llm.heads} heads of one size")
        self.layers = nn.ModuleDict(
            {
                str(block): GatedBlock(
                    (nn.RMSNorm(llm.width, llm.eps), nn.RMSNorm(llm.width, llm.eps)),
                    MediaAttention(
                        llm.width,
                        llm.heads,
                        llm.heads,
                        llm.width // llm.heads,
                        llm.eps if norms else None,
                    ),
                    SwiGlu(llm.width, llm.inner),
                )
                for block in self.before_blocks
            }
        )

    def flops(self, tokens: int) -> int:
        return len(self.layers) * tokens * 4 * self.llm.width**2

    def token_flops(self, tokens: int) -> int:
        width = self.llm.width
        return len(self.layers) * (4 * width * (width + tokens) + 6 * width * self.llm.inner)

    def before(self, block: int, hidden: Tensor, seen: Seen) -> Tensor:
        changed: Tensor = self.layers[str(block)](hidden, seen.media, seen.latest())
        return changed
