"""A base with blocks, random maps and scrambled parameters for the fusions' tests.

B batch, N tokens, C channels, H W grid; of the language model: D width, S and T tokens.
"""

from collections.abc import Sequence
from typing import Any

import torch
from doc_examples import EXAMPLES
from torch import Tensor, nn

import fusion_zoo
from fusion_zoo import FeatureMap, Fusion, Instruction, LanguageShape, MapShape

LANGUAGE = LanguageShape(24, 4)
TOKENS = 5
"""What a toy language model reads."""


def example(name: str, kind: str) -> type[Fusion]:
    """The class of a fusion of `docs/extending`."""
    module: dict[str, Any] = {"__name__": name}
    exec(compile(EXAMPLES[f"fusion_zoo/{name}.py"], f"{name}.py", "exec"), module)
    found: type[Fusion] = module[kind]
    return found


TOYS = {
    "question_gate": example("question_gate", "QuestionGate"),
    "cross_attention": example("cross_attention", "CrossAttention"),
}
"""One that asks for the instruction, and one that injects into the language model."""
FUSIONS = [*fusion_zoo.names(), *TOYS]
PLAIN = [name for name in fusion_zoo.names() if not fusion_zoo.takes_llm(name)]
"""Those that have nothing to do with the language model."""
SMALL: dict[str, dict[str, Any]] = {
    "sphinx": {"queries": 3, "inner": 16, "layers": 3, "heads": 2},
}
"""Options of those that are large by default."""
SHAPES = [MapShape(16, 4, 6), MapShape(12, 8, 12), MapShape(20, 3, 5), MapShape(8, 7, 6)]


class ToyBase(nn.Module):
    """Residual blocks over given tokens, after the protocol `BlockwiseBase`."""

    def __init__(self, shape: MapShape, num_blocks: int = 8, batch: int = 2) -> None:
        super().__init__()
        self.grid = shape.grid
        self.num_blocks = num_blocks
        self.register_buffer("entering", torch.randn(batch, shape.tokens, shape.channels))
        self.blocks = nn.ModuleList(
            nn.Linear(shape.channels, shape.channels) for _ in range(num_blocks)
        )
        self.calls: list[tuple[int, int]] = []

    def start(self) -> Tensor:
        return self.get_buffer("entering")

    def run(self, tokens: Tensor, first: int, last: int) -> Tensor:
        self.calls.append((first, last))
        for index in range(first, last):
            tokens = tokens + torch.tanh(self.blocks[index](tokens))
        return tokens

    def straight(self) -> Tensor:
        return self.run(self.start(), 0, self.num_blocks)


def build(name: str, shapes: Sequence[MapShape], grid: tuple[int, int], **options: Any) -> Fusion:
    """As `fusion_zoo.build`, the toys too, for a small language model."""
    if name in TOYS:
        return TOYS[name](shapes, grid, LANGUAGE, **options)  # type: ignore[call-arg]
    given = {**SMALL.get(name, {}), **options}
    return fusion_zoo.build(name, shapes, grid, LANGUAGE, **given)


class Whole(nn.Module):
    """All that a fusion makes: tokens, media, what the language model's blocks are given, and its
    scores of experts after its question."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        self.fusion = fusion
        self.names = fusion.names_experts and len(fusion.shapes) > 1
        draw = torch.Generator().manual_seed(5)
        self.said = torch.randn(2, 3, LANGUAGE.width, generator=draw, device="cpu")
        self.hidden = torch.randn(2, TOKENS, LANGUAGE.width, generator=draw, device="cpu")

    def forward(self, maps: Sequence[FeatureMap], base: nn.Module | None = None) -> list[Tensor]:
        like = maps[0].tensor
        said, hidden = self.said[: len(like)].to(like), self.hidden[: len(like)].to(like)
        mask = torch.ones(said.shape[:2], dtype=torch.bool, device=like.device)
        tokens = self.fusion(maps, base, Instruction(said, mask))
        if self.names:
            read = hidden[:, 0] * self.fusion.question().sum(dim=0)  # so that no sum is zero
            tokens = [*tokens, self.fusion.scores(read) * hidden[:, 0, :1]]
        if not self.fusion.injects:
            return tokens
        media = tokens[-1]
        visible = torch.ones(*hidden.shape[:2], media.shape[1], device=like.device).bool()
        injects = self.fusion.injects
        return [*tokens, *(self.fusion.inject(n, hidden, media, visible) for n in injects)]

    def declared(self, batch: int = 2) -> list[tuple[int, ...]]:
        """The shapes of what it makes of so many images."""
        fusion = self.fusion
        media = [fusion.media] if fusion.media else []
        made: list[tuple[int, ...]] = [(batch, *one) for one in (*fusion.segments, *media)]
        made += [(batch, len(fusion.shapes) - 1)] if self.names else []
        return [*made, *([(batch, TOKENS, LANGUAGE.width)] * len(fusion.injects))]


def random_maps(shapes: Sequence[MapShape], dtype: torch.dtype = torch.float32) -> list[FeatureMap]:
    return [FeatureMap(torch.randn(2, *shape, dtype=dtype)) for shape in shapes]


def scrambled(fusion: Fusion) -> Fusion:
    """The fusion with every parameter drawn anew, so that no zero of its start hides a mistake."""
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.normal_(std=0.1)
    return fusion
