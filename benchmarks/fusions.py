"""Each fusion beside its published module, forward and backward, and its share of a sample's work.

    python benchmarks/fusions.py [--repeats N] [--width N]

B batch, N tokens, C channels, H W grid, p a window's side. The published modules are written down
again here from their papers' code, on the parameters of ours, and checked to give the same tokens.
The two run in turn in one process, one image, fp32 on one thread, and the least CPU time of each
counts, as other work on the machine only ever adds. Maps are those of CLIP and ConvNeXt on a 32x32
grid with C and 3C channels (`--width` C, 1024 as in the paper); `stages` is Mini-Gemini as its
paper has it, with 64 keys a token out of four stages, on a 12x12 grid. LLaVA-HR's base is given no
blocks: the time is what the fusion adds to them.

`of a sample` is what a user pays: the fusion's share of the operations of a sample's forward pass,
encoders, projector and Vicuna-7B included, at the paper's size whatever `--width` says.
"""

from collections.abc import Callable, Sequence
from time import process_time

import torch
import torch.nn.functional as F
from rows import Row, run
from torch import Tensor

import fusion_zoo
from ablate.catalog import step_kinds
from ablate.config.study import load_study
from ablate.cost.estimate import model_cost
from fusion_zoo import FeatureMap, Fusion, MapShape

Published = Callable[[Fusion, Sequence[Tensor]], list[Tensor]]


def flat(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def eagle_concat(fusion: Fusion, maps: Sequence[Tensor]) -> list[Tensor]:
    """EAGLE: each map as tokens, concatenated on channels."""
    return [torch.cat([flat(x) for x in maps], dim=-1)]


def append(fusion: Fusion, maps: Sequence[Tensor]) -> list[Tensor]:
    """Nothing was released: each map as tokens."""
    return [flat(x) for x in maps]


def llava_hr(fusion: Fusion, maps: Sequence[Tensor]) -> list[Tensor]:
    """LLaVA-HR: `MultiPathAlignModule` three times, then `align_stages`."""
    (base, slow), (height, width) = maps, fusion.grid
    tokens = flat(base)
    for adapter in fusion.adapters:
        slow_tokens = flat(adapter.slow_proj(F.gelu(adapter.slow_conv(slow))))
        fast = tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
        fast = fast + adapter.fast_proj(F.gelu(adapter.fast_conv(fast)))
        both = torch.cat([flat(fast), slow_tokens], dim=-1)
        tokens = flat(fast) + adapter.gate(both.mean(1, keepdim=True)) * slow_tokens
    return [fusion.align_fast(tokens) + fusion.align_slow[0](flat(slow))]


def mini_gemini(fusion: Fusion, maps: Sequence[Tensor]) -> list[Tensor]:
    """Mini-Gemini: the stages on the first one's size, then `unified_resampler`."""
    images, stages = flat(maps[0]), maps[1:]
    finest = max(x.shape[-1] for x in stages)
    resized = [
        F.interpolate(x.float(), (finest, finest), mode="bilinear", align_corners=False).to(x.dtype)
        for x in stages
    ]
    aux = torch.cat(resized, dim=1).permute(0, 2, 3, 1)
    side, channels = int(images.shape[1] ** 0.5), aux.shape[-1]
    p = finest // side
    aux = aux.reshape(len(aux), side, p, side, p, channels).permute(0, 1, 3, 2, 4, 5)
    aux = aux.reshape(len(aux), side**2, p**2, channels).contiguous()
    query, key, value = fusion.query(images), fusion.key(aux), fusion.value(aux)
    attention = query[:, :, None] @ (key.transpose(-1, -2) / key.shape[-1] ** 0.5)
    return [images + (attention.nan_to_num().softmax(-1) @ value).mean(2)]


def deformable(fusion: Fusion, maps: Sequence[Tensor]) -> list[Tensor]:
    """Deformable DETR: `MSDeformAttn` with `ms_deform_attn_core_pytorch`."""
    tokens, (height, width) = flat(maps[0]), fusion.grid
    batch, count, _ = tokens.shape
    heads, levels, points = fusion.samples
    query = fusion.query(tokens)
    offsets = fusion.offsets(query).view(batch, count, heads, levels, points, 2)
    weights = fusion.weights(query).view(batch, count, heads, levels * points).softmax(-1)
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centres = torch.stack([(xs + 0.5) / width, (ys + 0.5) / height], -1).view(-1, 1, 1, 1, 2)
    sizes = torch.tensor([[x.shape[-1], x.shape[-2]] for x in maps[1:]])
    grids = 2 * (centres + offsets / sizes[None, None, None, :, None]) - 1
    sampled = []
    for number, x in enumerate(maps[1:]):
        value = fusion.value(fusion.levels[number](flat(x)))
        value = value.transpose(1, 2).reshape(batch * heads, -1, *x.shape[-2:])
        grid = grids[:, :, :, number].transpose(1, 2).flatten(0, 1)
        sampled.append(F.grid_sample(value, grid, align_corners=False))
    weights = weights.transpose(1, 2).reshape(batch * heads, 1, count, levels * points)
    out = (torch.stack(sampled, dim=-2).flatten(-2) * weights).sum(-1).view(batch, -1, count)
    return [tokens + fusion.output(out.transpose(1, 2))]


class NoBlocks:
    """A base without blocks: its tokens."""

    num_blocks = 0

    def __init__(self, x: Tensor) -> None:
        self.tokens, self.grid = flat(x), tuple(x.shape[-2:])

    def start(self) -> Tensor:
        return self.tokens

    def run(self, tokens: Tensor, first: int, last: int) -> Tensor:
        return tokens


def compared(
    name: str, published: Published, shapes: Sequence[MapShape], repeats: int
) -> tuple[float, float]:
    """Least seconds of CPU of forward and backward: ours, and as published."""
    torch.manual_seed(0)
    fusion = fusion_zoo.build(name, shapes, shapes[0].grid)
    with torch.no_grad():  # no zero of the start hides a difference
        for parameter in fusion.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    maps = [torch.randn(1, *shape, requires_grad=True) for shape in shapes]
    ways: tuple[Callable[[], list[Tensor]], ...] = (
        lambda: fusion([FeatureMap(x) for x in maps], NoBlocks(maps[0])),
        lambda: published(fusion, maps),
    )
    with torch.no_grad():
        for one, other in zip(ways[0](), ways[1](), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    arriving = [torch.randn(1, *segment) for segment in fusion.segments]
    times: list[list[float]] = [[], []]
    for _ in range(repeats + 1):
        for way, taken in zip(ways, times, strict=True):
            fusion.zero_grad()
            start = process_time()
            torch.autograd.backward(way(), arriving)
            taken.append(process_time() - start)
    ours, theirs = (min(taken[1:]) for taken in times)
    return ours, theirs


def work(arm: str) -> tuple[float, float]:
    """GFLOPs of a sample's forward pass in an arm of eagle/fusion: of its fusion, and of all."""
    study = load_study("eagle/fusion")
    names = list(study.explore.designs(study.base, ()))
    model = model_cost(study.designs[names.index(arm)])
    parts = model.work(model.visual_tokens + step_kinds.find("finetune").text)
    return parts["fusion"] / 1e9, sum(parts.values()) / 1e9


def rows(repeats: int = 5, width: int = 1024) -> list[Row]:
    torch.set_num_threads(1)
    c = width
    pair = [MapShape(c, 32, 32), MapShape(3 * c, 32, 32)]
    stages = [MapShape(c, 12, 12)]
    stages += [MapShape(3 * c * 2**n // 16, 96 // 2**n, 96 // 2**n) for n in (3, 2, 1, 0)]
    cases: dict[str, tuple[str, Published, list[MapShape]]] = {
        "Sequence Append": ("sequence_append", append, pair),
        "Channel Concat": ("channel_concat", eagle_concat, pair),
        "LLaVA-HR": ("llava_hr", llava_hr, pair),
        "Mini-Gemini": ("mini_gemini", mini_gemini, pair),
        "Mini-Gemini with stages": ("mini_gemini", mini_gemini, stages),
        "Deformable Attn": ("deformable", deformable, pair),
    }
    found = []
    for arm, (name, published, shapes) in cases.items():
        ours, theirs = compared(name, published, shapes, repeats)
        fusion, whole = work(arm)
        found += [
            Row(arm, 1e3 * ours, "CPU ms", "its published module", 1e3 * theirs),
            Row(f"{arm}, of a sample", fusion, "GFLOPs", "the whole candidate", whole),
        ]
    return found


if __name__ == "__main__":
    run(rows, __doc__)
