"""Further layers of cross-attention to all images before a token (Llama 3.2 Vision).

B conversations, S tokens that the language model reads of each, M media, D width of both.

Grattafiori et al. 2024 (Llama 3, arXiv 2407.21783), section 7, as transformers' `mllama` computes
them: keys and values shared by heads as in the language model, each head's queries and keys normed,
gates zero at the start; one before each fourth of the language model's blocks. Ours: media are the
connector's tokens, of width D, no marker of an image stands in the text, and a token without an
image before it is left as it is (theirs then attends to all images, those behind it too).
"""

from torch import Tensor, nn

from fusion_zoo.injections import Decoder, Injection, Seen
from fusion_zoo.injections._attention import GatedBlock, MediaAttention, SwiGlu
from fusion_zoo.injections._interface import every_nth


class LlamaVision(Injection):
    """No visual token in the context.

    every: before each block whose number, from 1, is a multiple of it: 4 makes layers 3, 8, 13, ...
    of 40 in all, as released.
    """

    def __init__(self, llm: Decoder, *, every: int = 4) -> None:
        super().__init__(llm)
        self.runs = 0
        self.before_blocks = every_nth(llm, every, first=every - 1)
        self.layers = nn.ModuleDict(
            {
                str(block): GatedBlock(
                    (nn.RMSNorm(llm.width, llm.eps), nn.RMSNorm(llm.width, llm.eps)),
                    MediaAttention(llm.width, llm.heads, llm.key_heads, llm.head_width, llm.eps),
                    SwiGlu(llm.width, llm.inner),
                    spares_blind=True,
                )
                for block in self.before_blocks
            }
        )

    def flops(self, tokens: int) -> int:
        keys = self.llm.key_heads * self.llm.head_width
        return len(self.layers) * tokens * 4 * self.llm.width * keys

    def token_flops(self, tokens: int) -> int:
        llm = self.llm
        attention = 4 * llm.heads * llm.head_width * (llm.width + tokens)
        return len(self.layers) * (attention + 6 * llm.width * llm.inner)

    def before(self, block: int, hidden: Tensor, seen: Seen) -> Tensor:
        changed: Tensor = self.layers[str(block)](hidden, seen.media, seen.before())
        return changed
