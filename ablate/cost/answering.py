"""How many questions are answered at once: as many as a share of the memory holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SHARE = 0.25
"""Of a GPU's memory beside the weights: what else a step needs is about as much again."""
PROCESSOR = 2**27
"""Bytes for them on a processor, where twice as much is hardly quicker."""
ONE_BY_ONE = 64
"""Questions at once where each image is seen anew for each of them."""
MOST = 512


@dataclass(frozen=True)
class Blocks:
    """The blocks of a language model: how many, their width, that of the keys and values, and that
    inside."""

    number: int
    width: int
    narrow: int
    inner: int

    @classmethod
    def of(cls, config: Mapping[str, Any], width: int) -> "Blocks":
        """Of the configuration of a language model, as transformers has it."""
        heads = int(config.get("num_attention_heads", 1))
        narrow = width * int(config.get("num_key_value_heads") or heads) // heads
        inner = int(config.get("intermediate_size") or 8 * width // 3)  # as Llama's
        return cls(int(config.get("num_hidden_layers", 0)), width, narrow, inner)

    def cached(self, each: int) -> int:
        """Bytes of a token's keys and values, `each` a number."""
        return 2 * self.number * self.narrow * each

    def questions_at_once(self, tokens: int, memory: float, each: int) -> int:
        """How many questions of so many tokens, with their answers, so many bytes hold.

        Of each token there are its keys and values, and what one block computes: about eight times
        the model's width, and three times its inner one.
        """
        block = (8 * self.width + 3 * self.inner) * each
        return max(1, min(MOST, int(memory / (self.cached(each) + block)) // tokens))
