"""Scenes as the language model first meets them: words summed into "visual" positions, no pixels.

A visual position is the sum of the embeddings of the words its cell is described by. The same scene
comes in many layouts, so that no fusion is favoured: one token a cell; several blocks of 16 (an
expert a block, each knowing only some attributes, as sequence append has it); shuffled; with gaps.

Shapes: B batch, V visual positions, W words a position, T text positions, N = V + T + 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ablate.data.world.questions import CAPTION_PROMPT, Question, caption, describe_cell
from ablate.data.world.scenes import GRID, Scene

POSITION_WORDS = ("row", "column")
POSITIONS = [(row, column) for row in range(GRID) for column in range(GRID)]


@dataclass(frozen=True)
class TextBatch:
    """Word ids of the visual positions (B,V,W), 0 = none; and the text around them."""

    visual: Tensor
    input_ids: Tensor  # (B,N), the visual positions as padding
    labels: Tensor  # (B,N), -100 where nothing is learnt
    attention_mask: Tensor  # (B,N)


class TextScenes:
    """Turns scenes and questions into batches; keeps the token ids of words it has seen."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.known: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, as the tokenizer gives them (it splits at blanks first)."""
        if text not in self.known:
            self.known[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self.known[text]

    def positions(
        self, scene: Scene, rng: Random, blocks: int = 1, gaps: float = 0.0, placed: bool = True
    ) -> list[list[int]]:
        """Word ids of each of the `blocks` x 16 visual positions.

        With more than one block every attribute is known to a random, non-empty set of blocks
        (colour and place to most of them); `gaps` is the share of words then left out. Without
        `placed` no position says which cell it is of: their order has to.
        """
        knows: dict[str, list[bool]] = {}
        texts = []
        for block in range(blocks):
            for position in POSITIONS:
                described = describe_cell(position, scene.cells.get(position, {}))
                words = []
                for attribute, word in described.items():
                    if attribute not in knows:
                        chance = {"row": 0.9, "column": 0.9, "colour": 0.8}.get(attribute, 0.4)
                        knows[attribute] = [rng.random() < chance for _ in range(blocks)]
                        knows[attribute][rng.randrange(blocks)] = True
                    known = knows[attribute][block] and (placed or attribute not in POSITION_WORDS)
                    if known and rng.random() >= gaps:
                        words += self.ids(word)
                texts.append(words)
        return texts

    def batch(
        self,
        scenes: list[Scene],
        turns: list[list[Question]],
        rng: Random,
        *,
        blocks: int = 1,
        shuffle: float = 0.0,
        gaps: float = 0.0,
        placeless: float = 0.0,
    ) -> TextBatch:
        """One batch; an empty list of turns asks for the caption instead.

        `shuffle` and `placeless` are the shares of scenes whose positions are out of order, and of
        those in order that do not say their place.
        """
        tokenizer = self.tokenizer
        bos, user, assistant, eot = tokenizer.convert_tokens_to_ids(
            ["<bos>", "<user>", "<assistant>", "<eot>"]
        )
        visual, rows, targets = [], [], []
        for scene, asked in zip(scenes, turns, strict=True):
            shuffled = rng.random() < shuffle
            placed = shuffled or rng.random() >= placeless
            missing = gaps if rng.random() < 0.3 else 0.0
            positions = self.positions(scene, rng, blocks, missing, placed)
            if shuffled:
                rng.shuffle(positions)
            visual.append(positions)
            row, target = [bos, user, *[0] * len(positions)], [-100] * (2 + len(positions))
            for index, (question, reply, learnt) in enumerate(self._turns(scene, asked, rng)):
                prompt = ([user] if index else []) + self.words(question) + [assistant]
                row += [*prompt, *reply, eot]
                target += [*[-100] * len(prompt), *learnt, eot]
            rows.append(row)
            targets.append(target)
        width = max(len(words) for positions in visual for words in positions)
        length = max(map(len, rows))
        return TextBatch(
            torch.tensor([[w + [0] * (width - len(w)) for w in ps] for ps in visual]),
            torch.tensor([row + [0] * (length - len(row)) for row in rows]),
            torch.tensor([target + [-100] * (length - len(target)) for target in targets]),
            torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows]),
        )

    def _turns(
        self, scene: Scene, asked: list[Question], rng: Random
    ) -> Iterator[tuple[str, list[int], list[int]]]:
        """(question, ids of the reply, its labels) of each turn."""
        for turn in asked:
            yield turn.question, self.words(turn.answer), self.words(turn.answer)
        if not asked and (scene.kind == "text" or rng.random() < 0.5):
            yield CAPTION_PROMPT, self.words(caption(scene)), self.words(caption(scene))
        elif not asked:
            yield (CAPTION_PROMPT, *self._drill(scene, rng))

    def _drill(self, scene: Scene, rng: Random) -> tuple[list[int], list[int]]:
        """Cells in random order, each called by its key (not learnt), then what it holds.

        The densest practice there is in finding a cell by what it holds, not by where it is.
        """
        reply, learnt = [], []
        for cell in rng.sample(list(scene.cells.values()), len(scene.cells)) * 2:
            key, *values = (
                self.words(word) for word in [*describe_cell((0, 0), cell).values()][2:]
            )
            held = [index for value in values for index in value]
            reply += [*key, *held]
            learnt += [*[-100] * len(key), *held]
        return reply, learnt

    def words(self, text: str) -> list[int]:
        return [index for word in text.split() for index in self.ids(word)]


def embed(
    batch: TextBatch,
    table: Tensor,
    generator: torch.Generator,
    *,
    noise: float = 0.0,
    offset: float = 0.0,
) -> Tensor:
    """Input embeddings (B,N,D): at the visual positions the sum of their words', made harder.

    `noise` is the deviation of each number, as a share of the sum's own. `offset` is that of a
    vector common to all positions of a scene, as every new projector gives one; a model that has
    learnt to look past it is soon shown something by a projector.
    """
    count = batch.visual.shape[1]
    summed = (table[batch.visual] * (batch.visual != 0).unsqueeze(-1)).sum(2)
    size, width = len(summed), summed.shape[-1]
    drawn = torch.randn(summed.shape, generator=generator)
    common = torch.randn(size, 1, width, generator=generator)
    strength = offset * torch.rand(size, 1, 1, generator=generator)
    summed = summed + summed.detach().std() * (noise * drawn + strength * common)
    text = table[batch.input_ids]
    return torch.cat([text[:, :2], summed, text[:, 2 + count :]], 1)
