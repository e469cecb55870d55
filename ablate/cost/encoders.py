"""An encoder's parameters and the FLOPs of one image, from its spec alone.

FLOPs are those of convolutions and products of matrices, attention's included, at 2 for each
multiply-add; norms, activations and resampling are left out. Nothing here needs torch, but for
other architectures than those of our own specs, and families without a closed form here: they are
built without memory and measured.

Shapes: n tokens, d an encoder's width, rows and columns of its patches.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

from ablate.catalog import micro_encoders as micro
from ablate.catalog import paper_encoders as paper
from ablate.catalog import timm_encoders
from ablate.catalog.encoder_spec import EncoderSpec

if TYPE_CHECKING:
    from ablate.encoders.base import Encoder

Architecture = Mapping[str, Any]


class Cost(NamedTuple):
    """What a layer, or a whole encoder, holds and does.

    `outputs`: how many numbers its linear and convolution layers put out.
    """

    parameters: int
    flops: int
    outputs: int = 0

    def times(self, count: int) -> "Cost":
        """Where it works so often."""
        return Cost(self.parameters, count * self.flops, count * self.outputs)


def parameters(spec: EncoderSpec) -> int:
    """How many parameters the encoder has."""
    return cost(spec).parameters


def flops(spec: EncoderSpec) -> int:
    """The FLOPs of the forward pass of one image at the encoder's resolution."""
    return cost(spec).flops


def cost(spec: EncoderSpec) -> Cost:
    """The whole encoder's, with one image at its resolution."""
    if spec.tile is None:
        return _cost(spec)
    tiles = (spec.resolution // spec.tile) ** 2
    of_tile = _cost(dataclasses.replace(spec, resolution=spec.tile, tile=None))
    return Cost(of_tile.parameters, tiles * of_tile.flops, tiles * of_tile.outputs)


def total(costs: Iterable[Cost]) -> Cost:
    """Of several together."""
    return Cost(*map(sum, zip(*costs, Cost(0, 0), strict=True)))


def measured(spec: EncoderSpec) -> Cost:
    """The same as torch counts it, on an encoder built without memory; it takes seconds."""
    return _measured(json.dumps(spec.to_json()))


@cache
def _measured(identity: str) -> Cost:
    import torch

    from ablate.encoders.build import build_encoder

    spec = EncoderSpec.from_json(json.loads(identity))
    with torch.device("meta"):
        return counted(build_encoder(spec, load_weights=False), spec.resolution)


def counted(encoder: "Encoder", resolution: int) -> Cost:
    """Of an encoder on the meta device, as torch counts it, with one image of this resolution."""
    import torch
    from torch import Tensor, nn
    from torch.utils.flop_counter import FlopCounterMode

    outputs = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal outputs
        outputs += output.numel()

    encoder.requires_grad_(False)  # the counter follows what has a gradient, and fails at views
    layers = [layer for layer in encoder.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder(torch.rand(1, encoder.channels, resolution, resolution))
    for hook in hooks:
        hook.remove()
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    return Cost(parameters, counter.get_total_flops(), outputs)


def _cost(spec: EncoderSpec) -> Cost:
    if spec.family == "timm" and (listed := timm_encoders.cost(spec)):
        return Cost(*listed)
    known = layers(spec) if spec.layer is None else None
    return measured(spec) if known is None else total(known)


def layers(spec: EncoderSpec) -> list[Cost] | None:
    """Of each layer, with one image (of tiles with one of them); None where there is no closed form
    here. Products of attention are layers of their own, which put out no `outputs`.
    """
    ours = (shipped for shipped in (*micro.SPECS, *paper.SPECS) if shipped.family == spec.family)
    if spec.family not in FAMILIES or not any(
        _alike(spec.architecture, shipped.architecture) for shipped in ours
    ):
        return None
    grid = spec.patches(spec.resolution, spec.resolution)
    return list(FAMILIES[spec.family](spec.architecture, *grid))


def _alike(a: Architecture, b: Architecture) -> bool:
    """Whether they differ in numbers only."""
    words = [key for key, value in a.items() if isinstance(value, bool | str)]
    return a.keys() == b.keys() and all(a[key] == b[key] for key in words)


def _held(parameters: int) -> Cost:
    """Norms, tables and scales, whose work does not count."""
    return Cost(parameters, 0)


def _linear(n: int, inputs: int, outputs: int, *, bias: bool = True) -> Cost:
    return Cost(inputs * outputs + bias * outputs, 2 * n * inputs * outputs, n * outputs)


def _attention(queries: int, keys: int, width: int) -> Cost:
    """Queries against keys, and the weighted sum of values."""
    return Cost(0, 4 * queries * keys * width)


def _patches(a: Architecture, n: int, d: int, *, bias: bool = True) -> Cost:
    side = a["patch_size"]
    side = side[0] if isinstance(side, list) else side
    return _linear(n, 3 * side * side, d, bias=bias)


def _table(a: Architecture, key: str = "image_size") -> int:
    """Entries of a table with a position for each patch of the image it was trained on."""
    image, patch = (
        value[0] if isinstance(value, list) else value for value in (a[key], a["patch_size"])
    )
    return int(image // patch) ** 2


def _layer(n: int, d: int, inner: int) -> Iterator[Cost]:
    """A transformer layer: four projections, attention, two more, all with biases; two norms."""
    yield from [_linear(n, d, d)] * 4
    yield _attention(n, n, d)
    yield from (_linear(n, d, inner), _linear(n, inner, d), _held(4 * d))


def _clip(a: Architecture, rows: int, columns: int) -> Iterator[Cost]:
    n, d = rows * columns, a["hidden_size"]
    yield _patches(a, n, d, bias=False)
    yield _held((_table(a) + 1) * d + 2 * d)  # positions, the class's too, and the first norm
    for _ in range(a["num_hidden_layers"]):
        yield from _layer(n, d, a["intermediate_size"])


def _clip_llava(a: Architecture, rows: int, columns: int) -> Iterator[Cost]:
    n, d = rows * columns, a["hidden_size"]
    yield _patches(a, n, d, bias=False)
    yield _held((_table(a) + 2) * d + 2 * d)  # positions, the class's too, it, and the first norm
    for _ in range(a["num_hidden_layers"]):
        yield from _layer(n + 1, d, a["intermediate_size"])


def _siglip(a: Architecture, rows: int, columns: int) -> Iterator[Cost]:
    n, d = rows * columns, a["hidden_size"]
    yield _patches(a, n, d)
    yield _held(_table(a) * d + 2 * d)
    for _ in range(a["num_hidden_layers"]):
        yield from _layer(n, d, a["intermediate_size"])


def _dinov2(a: Architecture, rows: int, columns: int, registers: int = 0) -> Iterator[Cost]:
    n, d = rows * columns, a["hidden_size"]
    yield _patches(a, n, d)
    yield _held((_table(a) + 2 + registers) * d + 2 * d)  # the class's too; the last norm
    for _ in range(a["num_hidden_layers"]):
        yield from _layer(n + 1 + registers, d, d * a["mlp_ratio"])
        yield _held(2 * d)  # scales


def _dinov2_registers(a: Architecture, rows: int, columns: int) -> Iterator[Cost]:
    yield from _dinov2(a, rows, columns, registers=4)


def _internvit(a: Architecture, rows: int, columns: int) -> Iterator[Cost]:
    n, d, inner = rows * columns, a["hidden_size"], a["intermediate_size"]
    yield _patches(a, n, d)
    yield _held((_table(a) + 2) * d)
    for _ in range(a["num_hidden_layers"]):
        yield from [_linear(n + 1, d, d, bias=False)] * 3
        yield _attention(n + 1, n + 1, d)
        yield from (_linear(n + 1, d, d), _linear(n + 1, d, inner), _linear(n + 1, inner, d))
        yield _held(6 * d)  # norms before both halves, of queries and of keys; two scales


def _convnext(a: Architecture, rows: int, columns: int) -> Iterator[Cost]:
    before = a["dims"][0]
    for stage, (depth, d) in enumerate(zip(a["depths"], a["dims"], strict=True)):
        n = rows * columns * 4 ** (3 - stage)
        side, inputs = (4, 3) if stage == 0 else (2, before)
        yield _linear(n, side * side * inputs, d)
        yield _held(2 * (d if stage == 0 else before))
        for _ in range(depth):
            yield from (_linear(n, 49, d), _linear(n, d, 4 * d), _linear(n, 4 * d, d))
            yield _held(3 * d)  # a norm and a scale
        before = d


def _eva02(a: Architecture, rows: int, columns: int) -> Iterator[Cost]:
    n, d = rows * columns, a["embed_dim"]
    yield _patches(a, n, d)
    yield _held(_table(a, "img_size") * d)
    for _ in range(a["depth"]):
        yield from _eva02_attention(n, n, d)
        yield from _eva02_mlp(n, d, int(d * a["mlp_ratio"]))


def _eva02_det(a: Architecture, rows: int, columns: int) -> Iterator[Cost]:
    n, d = rows * columns, a["embed_dim"]
    yield _patches(a, n, d)
    yield _held((_table(a, "img_size") + 1) * d)
    for index in range(a["depth"]):
        seen = (n, n) if index in a["global_blocks"] else _windows(rows, columns, a["window"])
        yield from _eva02_attention(*seen, d)
        yield from _eva02_mlp(n, d, int(d * a["mlp_ratio"]))


def _eva02_attention(n: int, keys: int, d: int) -> Iterator[Cost]:
    yield from [_linear(n, d, d)] * 3
    yield from (_linear(n, d, d, bias=False), _attention(n, keys, d))


def _eva02_mlp(n: int, d: int, inner: int) -> Iterator[Cost]:
    yield from [_linear(n, d, inner)] * 2
    yield from (_linear(n, inner, d), _held(4 * d + 2 * inner))


def _windows(rows: int, columns: int, side: int) -> tuple[int, int]:
    """Tokens of a map filled up to whole windows, and tokens of a window."""
    return ceil(rows / side) * ceil(columns / side) * side * side, side * side


def _sam(a: Architecture, rows: int, columns: int) -> Iterator[Cost]:
    yield from _sam_layers(a, rows, columns)
    n, d, outputs = rows * columns, a["hidden_size"], a["output_channels"]
    yield _linear(n, d, outputs, bias=False)
    yield from (_linear(n, 9 * outputs, outputs, bias=False), _held(4 * outputs))


def _sam_short(a: Architecture, rows: int, columns: int) -> Iterator[Cost]:
    yield from _sam_layers(a, rows, columns)
    outputs = a["output_channels"]
    yield _linear(rows * columns, a["hidden_size"], outputs, bias=False)
    yield _held(2 * outputs)


def _sam_layers(a: Architecture, rows: int, columns: int) -> Iterator[Cost]:
    n, d, inner = rows * columns, a["hidden_size"], int(a["hidden_size"] * a["mlp_ratio"])
    head = d // a["num_attention_heads"]
    yield _patches(a, n, d)
    yield _held(_table(a) * d)
    for index in range(a["num_hidden_layers"]):
        whole = index in a["global_attn_indexes"]
        window = a["window_size"]
        seen, keys = (n, n) if whole else _windows(rows, columns, window)
        around = rows + columns if whole else 2 * window
        trained = a["image_size"] // a["patch_size"] if whole else window
        yield from [_linear(seen, d, d)] * 4
        yield _attention(seen, keys, d)
        yield Cost(2 * (2 * trained - 1) * head, 2 * seen * around * d)  # relative positions
        yield from (_linear(n, d, inner), _linear(n, inner, d), _held(4 * d))


def _pix2struct(a: Architecture, rows: int, columns: int) -> Iterator[Cost]:
    n, d = rows * columns, a["hidden_size"]
    inner = a["num_attention_heads"] * a["d_kv"]
    yield _linear(n, a["patch_embed_hidden_size"], d)
    yield _held(2 * a["seq_len"] * d + d)  # rows, columns, the last norm
    for _ in range(a["num_hidden_layers"]):
        yield from [_linear(n, d, inner, bias=False)] * 3
        yield from (_attention(n, n, inner), _linear(n, inner, d, bias=False))
        yield from [_linear(n, d, a["d_ff"], bias=False)] * 2
        yield from (_linear(n, a["d_ff"], d, bias=False), _held(2 * d))


FAMILIES: Mapping[str, Callable[[Architecture, int, int], Iterator[Cost]]] = {
    "clip": _clip,
    "clip_aligned": _clip,
    "clip_llava": _clip_llava,
    "convnext": _convnext,
    "dinov2": _dinov2,
    "dinov2_registers": _dinov2_registers,
    "eva02": _eva02,
    "eva02_det": _eva02_det,
    "eva02_det_aligned": _eva02_det,
    "internvit": _internvit,
    "pix2struct": _pix2struct,
    "sam": _sam,
    "sam_short": _sam_short,
    "siglip": _siglip,
}
"""The layers of each of our families, of an image of so many rows and columns of patches."""
