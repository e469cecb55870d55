"""The image and its instruction choose experts, whose maps the base's tokens look into (MoVA).

B batch, N tokens of the base's map, C its channels, V those of an expert, E experts, K heads.

Zong et al. 2024 (MoVA), section 3.3, as its code has the blocks of its adapter: a gate weighs the
experts by the instruction and the base's mean token, all but the best few weigh nothing; the base's
tokens attend to each expert's map, to themselves, and pass a gated layer. Positions are rotary, in
two dimensions. What a block adds begins at zero, so that the tokens are at first the base's alone.
Ours: the instruction is the mean of what the language model reads, for a text encoder of its own;
the language model is not asked beforehand which experts there should be (`coarse_to_fine` asks it);
and tokens are pooled to the grid without the convolutions around it.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ._interface import (
    BlockwiseBase,
    FeatureMap,
    Fusion,
    Instruction,
    LanguageShape,
    MapShape,
    Segment,
    at_least_fp32,
    resize_flops,
    resize_map,
)


class ExpertRouting(Fusion):
    """H*W tokens of the base's channels; `keep` experts for each image and instruction.

    blocks: of the adapter. keep: experts that weigh more than nothing.
    heads, head_width: of attention; a head's width is a multiple of four.
    """

    asks_instruction: ClassVar[bool] = True

    def __init__(
        self,
        shapes: Sequence[MapShape],
        grid: tuple[int, int],
        llm: LanguageShape,
        *,
        blocks: int = 3,
        keep: int = 3,
        heads: int = 16,
        head_width: int = 64,
    ) -> None:
        super().__init__(shapes, grid)
        width, *experts = (shape.channels for shape in self.shapes)
        if min(blocks, keep, heads, head_width) < 1 or head_width % 4:
            raise ValueError(f"{blocks} blocks, {keep} kept, {heads} heads of width {head_width}")
        self.positions = nn.Parameter(torch.zeros(self.shapes[0].tokens, width))
        self.blocks = nn.ModuleList(
            RoutedBlock(width, experts, llm.width, min(keep, len(experts)), (heads, head_width))
            for _ in range(blocks)
        )
        self.inner = heads * head_width
        self.segments = (Segment(self.grid[0] * self.grid[1], width),)
        self.instruction_width = llm.width

    def flops(self) -> int:
        return self._flops(self.shapes[1:])

    def _flops(self, looking: Sequence[MapShape]) -> int:
        """Where these experts look."""
        (n, c), inner, experts = (
            (self.shapes[0].tokens, self.shapes[0].channels),
            self.inner,
            len(self.shapes) - 1,
        )
        gate = 2 * (self.instruction_width + c) * c + 2 * c * experts
        seen = sum(4 * n * inner * (c + shape.channels + n) for shape in looking)
        itself = 4 * n * inner * (2 * c + n) + 6 * n * c * (8 * c // 3)
        resized = sum(resize_flops(shape, self.shapes[0].grid) for shape in looking)
        return resized + len(self.blocks) * (gate * (experts > 1) + seen + itself)

    def forward(
        self,
        maps: Sequence[FeatureMap],
        base: BlockwiseBase | None = None,
        context: Instruction | None = None,
        chosen: Tensor | None = None,
    ) -> list[Tensor]:
        assert context is not None
        before, grid = maps[0].tokens(), self.shapes[0].grid
        experts = [
            FeatureMap(resize_map(expert.tensor, grid, align_corners=False)).tokens()
            for expert in maps[1:]
        ]
        asked = context.pooled().to(before.dtype)
        tokens = before + self.positions.to(before.dtype)
        for block in self.blocks:
            tokens = block(tokens, experts, asked, grid, chosen)
        routed = FeatureMap.from_tokens((tokens + before) / 2, grid).tensor
        return [FeatureMap(F.adaptive_avg_pool2d(routed, self.grid)).tokens()]


class RoutedBlock(nn.Module):
    """Tokens (B,N,C), with what they find in experts (B,N,V) and in themselves."""

    def __init__(
        self, width: int, experts: Sequence[int], asked: int, keep: int, heads: tuple[int, int]
    ) -> None:
        super().__init__()
        self.keep = keep
        if len(experts) > 1:
            scores = nn.Linear(width, len(experts))
            _zero(scores)
            self.gate = nn.Sequential(nn.Linear(asked + width, width), nn.GELU(), scores)
        self.queried = nn.ModuleList(nn.LayerNorm(width) for _ in experts)
        self.seen = nn.ModuleList(nn.LayerNorm(channels) for channels in experts)
        self.look = nn.ModuleList(RotaryAttention(width, channels, heads) for channels in experts)
        self.norm = nn.LayerNorm(width)
        self.attend = RotaryAttention(width, width, heads)
        self.mix = GatedLayer(width)

    def forward(
        self,
        tokens: Tensor,
        experts: Sequence[Tensor],
        asked: Tensor,
        grid: tuple[int, int],
        chosen: Tensor | None = None,
    ) -> Tensor:
        if experts:
            weights = self.weights(tokens, asked, chosen).to(tokens.dtype).unbind(dim=1)
            # To learn, all parameters work in each batch: what is not chosen weighs nothing.
            looking = None if self.training or chosen is None else chosen
            drawn = [
                weight[:, None, None] * self._draw(number, tokens, expert, grid, looking)
                for number, (weight, expert) in enumerate(zip(weights, experts, strict=True))
            ]
            tokens = tokens + torch.stack(drawn).sum(dim=0)
        normed = self.norm(tokens)
        tokens = tokens + self.attend(normed, normed, grid)
        mixed: Tensor = tokens + self.mix(tokens)
        return mixed

    def _draw(
        self,
        number: int,
        tokens: Tensor,
        expert: Tensor,
        grid: tuple[int, int],
        looking: Tensor | None,
    ) -> Tensor:
        """(B,N,C) what tokens find in an expert; nothing is computed where it is not `looking`."""
        if looking is None:
            return self._look(number, tokens, expert, grid)
        rows = looking[:, number].nonzero()[:, 0]
        drawn = torch.zeros_like(tokens)
        if len(rows):
            seen = self._look(number, tokens[rows], expert[rows], grid)
            drawn = drawn.index_copy(0, rows, seen.to(drawn.dtype))
        return drawn

    def _look(self, number: int, tokens: Tensor, expert: Tensor, grid: tuple[int, int]) -> Tensor:
        queried, seen = self.queried[number](tokens), self.seen[number](expert)
        drawn: Tensor = self.look[number](queried, seen, grid)
        return drawn

    def weights(self, tokens: Tensor, asked: Tensor, chosen: Tensor | None = None) -> Tensor:
        """(B,E) how much each expert counts: 1 in all, 0 for all but the best `keep`.

        Of those `chosen` (B,E) alone, if they are given; where these are none, 0 in all.
        """
        if len(self.look) == 1:
            kept = tokens.new_ones(len(tokens), 1)
        else:
            question = torch.cat([asked, tokens.mean(dim=1)], dim=-1)
            scores = at_least_fp32(self.gate(question))
            if chosen is not None:
                scores = scores - 1e6 * ~chosen
            share = scores.softmax(dim=-1)
            best = share.topk(self.keep, dim=-1)
            kept = torch.zeros_like(share).scatter(-1, best.indices, best.values)
            kept = kept / kept.sum(dim=-1, keepdim=True)
        return kept if chosen is None else kept * chosen.any(dim=-1, keepdim=True)


class RotaryAttention(nn.Module):
    """What (B,N,C) find in (B,N,V) on the same grid, in heads (number, width of each)."""

    def __init__(self, width: int, channels: int, heads: tuple[int, int]) -> None:
        super().__init__()
        self.heads, head_width = heads
        inner = self.heads * head_width
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(channels, inner, bias=False)
        self.value = nn.Linear(channels, inner, bias=False)
        self.norm = nn.LayerNorm(inner)
        self.output = nn.Linear(inner, width)
        _zero(self.output)

    def forward(self, tokens: Tensor, seen: Tensor, grid: tuple[int, int]) -> Tensor:
        query, key, value = (
            x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)
            for x in (self.query(tokens), self.key(seen), self.value(seen))
        )
        angles = _angles(grid, query.shape[-1], query.device)
        drawn = F.scaled_dot_product_attention(_turned(query, angles), _turned(key, angles), value)
        output: Tensor = self.output(self.norm(drawn.transpose(1, 2).flatten(2)))
        return output


class GatedLayer(nn.Module):
    """A SwiGLU layer between norms, of 8/3 of the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = 8 * width // 3
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, hidden)
        self.inner = nn.Linear(width, hidden)
        self.hidden_norm = nn.LayerNorm(hidden)
        self.output = nn.Linear(hidden, width)
        _zero(self.output)

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.norm(tokens)
        hidden = F.silu(self.gate(normed)) * self.inner(normed)
        output: Tensor = self.output(self.hidden_norm(hidden))
        return output


def _zero(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def _angles(grid: tuple[int, int], width: int, device: torch.device) -> Tensor:
    """(N, width/2) by how much each pair of channels turns: half of them by the row, half by the
    column."""
    rates = 1e4 ** -(torch.arange(0, width // 2, 2, device=device) / (width // 2))
    rows, columns = (torch.arange(side, device=device) for side in grid)
    by_row = (rows[:, None] * rates).repeat_interleave(grid[1], dim=0)
    by_column = (columns[:, None] * rates).repeat(grid[0], 1)
    return torch.cat([by_row, by_column], dim=-1)


def _turned(heads: Tensor, angles: Tensor) -> Tensor:
    """(B,K,N,width), each two neighbouring channels turned by an angle, in fp32 at least."""
    pairs = at_least_fp32(heads).reshape(*heads.shape[:-1], -1, 2)
    first, second = pairs.unbind(dim=-1)
    cos, sin = angles.cos(), angles.sin()
    turned = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return turned.flatten(-2).to(heads.dtype)
