"""The memory model of a training step: what it keeps for its backward pass, and does again there.

Imports no torch.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ablate.catalog.parts import BLOCKS, PARTS, Part
from ablate.design.recipe import TrainingConfig

WEIGHT, UPDATE = 4, 14
"""Bytes a parameter (float32), and those more where it learns: gradient and AdamW's two moments
(float32), and autocast's bfloat16 copy."""
KEPT, RECOMPUTED = 5.5, 0.15
"""Bytes kept for the backward pass for each number that a linear or convolution layer puts out,
with all that lies between such layers: our own encoders and language model keep 5 to 7 under
autocast. And the share of it that stays where blocks recompute it: of each block the input, in
float32, about a tenth; and one block whole, of 24 to 40."""
LOGITS = 14
"""Bytes for each token learnt and word of the vocabulary: logits in bfloat16 and float32, their
logarithmic softmax and its gradient in float32."""
LOGITS_AT_ONCE = 2**25
"""So many logits are there at most, where they are computed again in the backward pass; see
`ablate.model.token_losses`."""
CAREFUL = 0.8
"""The share of a GPU's memory that is filled on the word of this model, which is for planning."""


Recomputed = Mapping[Part, int]
"""The parts whose blocks compute their activations again: 1 for all of them, n for every nth."""
NOTHING: Recomputed = MappingProxyType({})
EVERYTHING: Recomputed = MappingProxyType(dict.fromkeys(BLOCKS, 1))
RAREST = 8
"""The largest of these n that is tried of a language model."""


def passes(stage: TrainingConfig, recompute: Recomputed = NOTHING) -> dict[Part, float]:
    """How often a step of training does the work of each part's forward pass.

    Once forward; once more for the gradient of its weights, but beside an adapter, and once for
    that of its input where something before it learns or its own first layers do; and once where
    it is to `recompute`, or as much of it. An adapter's own work is left out.
    """
    times, learnt_before = dict[Part, float](), False
    for part in PARTS:
        learns = part in stage.rates
        whole = learns and part not in stage.adapters
        inward = learnt_before or (learns and part in BLOCKS)
        again = _share(part, recompute) if learns or inward else 0
        times[part] = 1 + whole + inward + again
        learnt_before |= learns
    return times


def recomputed_words(recompute: Recomputed) -> str:
    """As a plan and a log say it: `recomputes encoders and every 3rd block of llm`."""
    ordinals = {2: "2nd", 3: "3rd"}
    words = [
        part if n == 1 else f"every {ordinals.get(n, f'{n}th')} block of {part}"
        for part, n in recompute.items()
    ]
    return f"recomputes {' and '.join(words) or 'nothing'}"


def _share(part: Part, recompute: Recomputed) -> float:
    """Of a part's blocks those that compute again."""
    return 1 / recompute[part] if part in recompute else 0.0


@dataclass(frozen=True)
class StepMemory:
    """What a training step takes of a GPU's memory, in GiB.

    held: of it what is there whatever is learnt from; outputs: so many numbers each part puts out
    of a conversation, the longest (of fusion and injection they are left out); injected: bytes that
    an injection keeps of it inside the language model's blocks; learnt: the tokens learnt in it;
    vocabulary: how many logits each of these has; in_chunks: so that never all of
    them are there.
    """

    stage: TrainingConfig
    held: float
    outputs: Mapping[Part, int]
    injected: float
    learnt: int
    vocabulary: int
    in_chunks: bool

    def needed(self, conversations: int, recompute: Recomputed = NOTHING) -> float:
        """For so many conversations at once."""
        logits = conversations * self.learnt * self.vocabulary
        if self.in_chunks:
            logits = min(logits, LOGITS_AT_ONCE)
        kept = conversations * self._kept(recompute)
        return self.held + (kept + LOGITS * logits) / 2**30

    def fitting(self, most: int, room: float, recompute: Recomputed) -> int:
        """How many conversations, at most so many, there is room for at once, in GiB."""
        numbers = range(most + 1)
        return max(0, bisect_right(numbers, room, key=lambda n: self.needed(n, recompute)) - 1)

    def _kept(self, recompute: Recomputed) -> float:
        """Bytes kept of a conversation for the backward pass, without its logits."""
        times = passes(self.stage)
        kept = {part: self.outputs[part] if times[part] > 1 else 0 for part in self.outputs}
        shares = {part: 1 - (1 - RECOMPUTED) * _share(part, recompute) for part in BLOCKS}
        blocks = sum(shares[part] * kept[part] for part in BLOCKS)
        injected = self.injected if times["injection"] > 1 else 0.0
        return KEPT * (blocks + kept["projector"]) + shares["llm"] * injected

    def least_recomputed(
        self, conversations: int, room: float, work: Mapping[Part, int]
    ) -> Recomputed:
        """What must be computed again so that so many conversations have room.

        It is what takes the least `work` (FLOPs of a forward pass), of encoders all blocks or none;
        everything, where that is not enough. What learns nothing keeps nothing.
        """
        learning = {part for part, times in passes(self.stage).items() if times > 1}
        of_each: dict[Part, range] = {"encoders": range(1, 2), "llm": range(1, RAREST + 1)}
        choices: list[dict[Part, int]] = [{}]
        for part, every in of_each.items():
            if part in learning:
                choices += [{**others, part: n} for others in choices for n in every]
        choices.sort(key=lambda each: sum(work[part] / n for part, n in each.items()))
        fitting = (each for each in choices if self.needed(conversations, each) <= CAREFUL * room)
        return next(fitting, {part: 1 for part in BLOCKS if part in learning})
