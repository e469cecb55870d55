"""LoRA of a weight's direction, with its length learnt apart (DoRA).

Liu et al. 2024 (arXiv 2402.09353): each row of W + alpha / rank * B A is brought to a length that
is learnt, at first W's own. By the `peft` library.
"""

from collections.abc import Sequence

from ablate.adapters.lora import Lora

LABEL = "DoRA r={rank}"


class Dora(Lora):
    """The options of `Lora`."""

    weight_decomposed = True

    def __init__(
        self,
        *,
        rank: int = 16,
        alpha: float = 32.0,
        targets: Sequence[str] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(rank=rank, alpha=alpha, targets=targets, dropout=dropout)
