"""Sizes and operations of what stands between the encoders and the language model.

They take torch to find out, on modules built without memory, and so are remembered in `home()`.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import fusion_zoo
from ablate.cost.encoders import Cost
from ablate.design import Design, encoder_spec, llm_spec
from ablate.errors import UserError
from ablate.files import disk_cache
from fusion_zoo.connectors import CONNECTORS

QUESTION, ANSWER = 60, 5
"""Tokens of a benchmark's question, and of its answer, mostly a word or a letter. Our guess."""
Options = tuple[tuple[str, Any], ...]
"""By name, sorted."""
Grid = tuple[int, int]


class Fused(NamedTuple):
    """A fusion's figures: what it gives, (tokens, channels) and (H, W) of each segment, and does.

    `injected`: FLOPs of what it injects, for each token the language model reads.
    """

    segments: tuple[tuple[int, int], ...]
    grids: tuple[Grid | None, ...]
    cost: Cost
    notes: list[str]
    injected: int


class Connected(NamedTuple):
    """A connector's figures: what an image becomes, and its cost."""

    tokens: int
    cost: Cost


def fused(design: Design) -> Fused:
    """Of the design's fusion; UserError if it cannot take its maps."""
    shapes = tuple(shape for title in design.encoders for shape in encoder_spec(title).maps)
    options = tuple(sorted(design.fusion.options.items()))
    llm = llm_spec(design.llm) if fusion_zoo.takes_llm(design.fusion.name) else None
    shape = (llm.width, llm.layers) if llm else ()
    return _fused(design.fusion.name, shapes, design.fusion.grid, options, shape)


def connected(design: Design) -> Connected:
    """Of the design's connector; UserError if it cannot take what the fusion gives."""
    made = fused(design)
    options = {name: value for name, value in design.connector.items() if name != "name"}
    llm = llm_spec(design.llm)
    return _connected(
        design.connector["name"],
        made.segments,
        made.grids,
        llm.width,
        tuple(sorted(options.items())),
    )


@cache
def _fused(
    name: str,
    shapes: tuple[tuple[int, int, int], ...],
    grid: Grid,
    options: Options,
    llm: tuple[int, ...],
) -> Fused:
    """`llm`: its width and blocks, for a fusion that takes them."""
    asked = (name, fusion_zoo.fingerprint(name), shapes, grid, options, *([llm] if llm else []))
    figures = disk_cache(
        "figures", asked, lambda: _measured_fusion(name, shapes, grid, dict(options), llm)
    )
    return Fused(
        tuple((n, c) for n, c in figures["segments"]),
        tuple(size and (size[0], size[1]) for size in figures["grids"]),
        Cost(figures["parameters"], figures["flops"]),
        figures["notes"],
        figures["token_flops"],
    )


@cache
def _connected(
    name: str,
    segments: tuple[tuple[int, int], ...],
    grids: tuple[Grid | None, ...],
    width: int,
    options: Options,
) -> Connected:
    asked = ("connector", name, CONNECTORS.fingerprint(name), segments, grids, width, options)
    figures = disk_cache(
        "figures", asked, lambda: _measured_connector(name, segments, grids, width, dict(options))
    )
    return Connected(
        figures["tokens"], Cost(figures["parameters"], figures["flops"], figures["outputs"])
    )


def _measured_fusion(
    name: str,
    shapes: tuple[tuple[int, int, int], ...],
    grid: Grid,
    options: Mapping[str, Any],
    llm: tuple[int, ...],
) -> dict[str, Any]:
    import torch

    maps = [fusion_zoo.MapShape(*shape) for shape in shapes]
    shape = fusion_zoo.LanguageShape(*llm) if llm else None
    try:
        with torch.device("meta"):
            fusion = fusion_zoo.build(name, maps, grid, shape, **options)
    except ValueError as error:
        raise UserError(f"fusion '{name}': {error}") from error
    return {
        "segments": [list(segment) for segment in fusion.segments],
        "grids": [size and list(size) for size in fusion.grids],
        "parameters": fusion.num_parameters,
        "flops": fusion.flops(),
        "notes": fusion.notes(),
        "token_flops": fusion.token_flops(),
    }


def _measured_connector(
    name: str,
    segments: tuple[tuple[int, int], ...],
    grids: tuple[Grid | None, ...],
    width: int,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Asked a benchmark's question, if it asks for one."""
    import torch
    from torch import Tensor, nn

    outputs = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal outputs
        outputs += output.numel()

    try:
        with torch.device("meta"), torch.no_grad():
            connector = CONNECTORS.build(name, segments, grids, width, **options)
            for layer in connector.modules():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    layer.register_forward_hook(count)
            instruction = torch.empty(1, QUESTION, width), torch.ones(1, QUESTION, dtype=torch.bool)
            if segments:
                connector(
                    [torch.empty(1, *segment) for segment in segments],
                    fusion_zoo.Instruction(*instruction),
                )
    except ValueError as error:
        raise UserError(f"connector '{name}': {error}") from error
    return {
        "tokens": connector.num_tokens,
        "parameters": connector.num_parameters,
        "flops": connector.flops(QUESTION),
        "outputs": outputs,
    }
