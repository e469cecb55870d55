"""The image and the prompt see each other both ways, the answer what is before it (PaliGemma).

B conversations, S tokens that the language model reads.

Beyer et al. 2024 (PaliGemma, arXiv 2407.07726), section 3.2.2: a prefix-LM mask. Ours: of a
conversation with several turns, only what comes before the first answer.
"""

from torch import Tensor

from fusion_zoo.injections import Injection, Seen


class PrefixLm(Injection):
    """No parameters: another mask of attention. All visual tokens stand in the context."""

    masks = True

    def two_way(self, seen: Seen) -> Tensor:
        return seen.prompt
