"""Sizes and operations of what stands around the encoders, before the language model.

They take torch to find out, on modules built without memory, and so are remembered in `home()`.
"""

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import fusion_zoo
from ablate.catalog.axes import INJECTION, TILING
from ablate.catalog.data_sources import DataSource, WorldData
from ablate.cost.encoders import Cost, total
from ablate.design import Design, encoder_spec, llm_spec
from ablate.errors import UserError
from ablate.files import disk_cache
from fusion_zoo.connectors import CONNECTORS
from fusion_zoo.injections import INJECTIONS
from fusion_zoo.tilings import Size, Tiling, tiling_of

if TYPE_CHECKING:
    from fusion_zoo.injections import Injection

QUESTION, ANSWER = 60, 5
"""Tokens of a benchmark's question, and of its answer, mostly a word or a letter. Our guess."""
TYPICAL = 640, 480
"""Width and height of an image where nothing else is known: most of COCO's, of which most of
LLaVA's data is."""
KEPT_IN_BLOCKS, KEPT_BESIDE = 6.5, 4.0
"""Bytes kept for the backward pass for each number that an injection's layers put out, with all
that lies between them, under autocast: in blocks of its own 5 to 8, most where gates and norms are
in float32; beside the language model's linear layers, whose input is kept once for both, 3.8."""
Options = tuple[tuple[str, Any], ...]
"""By name, sorted."""
Grid = tuple[int, int]


class Fused(NamedTuple):
    """A fusion's figures: what it gives, (tokens, channels) and (H, W) of each segment, and does.

    `injected`: FLOPs of what it injects, for each token the language model reads. `named`: where
    the language model names experts, how many at most, and the fusion's FLOPs with so many.
    """

    segments: tuple[tuple[int, int], ...]
    grids: tuple[Grid | None, ...]
    cost: Cost
    notes: list[str]
    injected: int
    named: tuple[int, int] | None = None


class Connected(NamedTuple):
    """A connector's figures: the tokens it makes and (H, W) of these, and its cost."""

    tokens: int
    grid: Grid | None
    cost: Cost


class Seen(NamedTuple):
    """What an image becomes: its tokens, and how often the encoders and the connector work."""

    tokens: int
    views: int
    units: int


def seen(design: Design, size: Size | None) -> Seen:
    """Of an image of this width and height; None: of the one that becomes the most tokens.

    UserError if the design's tiling, fusion and connector do not fit together.
    """
    tiling, made = tiling_for(design), connected(design)

    def count(size: Size) -> Seen:
        return Seen(
            tiling.num_tokens(size, made.tokens, made.grid),
            tiling.num_views(size),
            tiling.num_units(size),
        )

    return count(size) if size else max(map(count, tiling.largest()))


@cache
def _tiling(choice: str, side: int) -> Tiling:
    """`choice`: as JSON."""
    filled = json.loads(choice)
    try:
        return tiling_of(filled, side)
    except ValueError as error:
        raise UserError(f"tiling '{filled['name']}': {error}") from error


def tiling_for(design: Design) -> Tiling:
    """The design's tiling; UserError where its options make no sense."""
    return _tiling(json.dumps(design.tiling), encoder_spec(design.encoders[0]).resolution)


def picture_size(data: DataSource) -> Size:
    """Width and height of an image of this source, as far as is known without looking."""
    return data.size if isinstance(data, WorldData) else TYPICAL


def fused(design: Design) -> Fused:
    """Of the design's fusion; UserError if it cannot take its maps."""
    shapes = tuple(shape for title in design.encoders for shape in encoder_spec(title).maps)
    options = tuple(sorted(design.fusion.options.items()))
    llm = llm_spec(design.llm) if fusion_zoo.takes_llm(design.fusion.name) else None
    shape = (llm.width, llm.layers) if llm else ()
    return _fused(design.fusion.name, shapes, design.fusion.grid, options, shape)


def connected(design: Design) -> Connected:
    """Of the design's connector and of the tokens that its tiling has for its own.

    UserError if one of them cannot take what is before it.
    """
    made, tiling = fused(design), tiling_for(design)
    options = {name: value for name, value in design.connector.items() if name != "name"}
    llm = llm_spec(design.llm)
    try:
        segments = tuple(tiling.segments(made.segments, made.grids))
    except ValueError as error:
        raise UserError(f"tiling '{design.tiling['name']}': {error}") from error
    measured = connector_figures(
        design.connector["name"], segments, made.grids, llm.width, tuple(sorted(options.items()))
    )
    marks = Cost(len(tiling.marks) * llm.width, 0)
    return measured._replace(cost=total([measured.cost, marks]))


class Injected(NamedTuple):
    """An injection's figures: an image's tokens in the context, its cost with an image, and FLOPs
    for each token the language model reads. `kept`: bytes for the backward pass with an image, and
    for each of these tokens."""

    tokens: int
    cost: Cost
    each: int
    kept: tuple[int, int] = (0, 0)


def injected(design: Design, size: Size | None) -> Injected:
    """Of the design's injection, for an image of this size as in `seen`; UserError if it fits not
    the language model, or not the tokens of an image."""
    tokens = seen(design, size).tokens
    if design.injection == INJECTION.default:
        return Injected(tokens, Cost(0, 0), 0)
    fingerprint = INJECTIONS.fingerprint(design.injection["name"])
    asked = (fingerprint, design.injection, tokens, design.tiling, llm_spec(design.llm).to_json())
    figures = disk_cache("injection-figures", asked, lambda: _measured_injection(design, tokens))
    cost = Cost(figures["parameters"], figures["flops"])
    kept = figures["kept"], figures["token_kept"]
    return Injected(figures["tokens"], cost, figures["token_flops"], kept)


def _measured_injection(design: Design, tokens: int) -> dict[str, int]:
    injection = injection_of(design, tokens)
    read = injection.context_tokens(tokens) + 1  # and one token more
    with INJECTIONS.blame(design.injection["name"], "be measured without memory"):
        less, more = (_put_out(injection, tokens, length) for length in (read, read + 1))
    bytes_each = KEPT_BESIDE if injection.linears else KEPT_IN_BLOCKS
    return {
        "kept": round(bytes_each * (less - read * (more - less))),
        "token_kept": round(bytes_each * (more - less)),
        "tokens": injection.context_tokens(tokens),
        "parameters": injection.num_parameters,
        "flops": injection.flops(tokens),
        "token_flops": injection.token_flops(tokens),
    }


def _put_out(injection: "Injection", tokens: int, read: int) -> int:
    """Numbers that the layers of an injection without memory put out, where the language model
    reads so many tokens with one image among them."""
    import torch
    from torch import Tensor, nn

    from fusion_zoo.injections import Seen

    put_out, width = 0, injection.llm.width

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal put_out
        put_out += output.numel()

    hooks = [
        layer.register_forward_hook(count)
        for layer in injection.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    context = injection.context_tokens(tokens)
    with torch.device("meta"), torch.no_grad():
        hidden, media = torch.empty(1, read, width), torch.empty(tokens - context, width)
        first = torch.ones(1, tokens - context, dtype=torch.long)
        seen = Seen(
            places=torch.arange(context),
            images=(media,),
            media=media[None],
            numbers=first,
            begun=torch.ones(1, read, dtype=torch.long),
            prompt=torch.ones(1, read, dtype=torch.bool),
        )
        for block in injection.before_blocks:
            injection.before(block, hidden, seen)
        for block in injection.after_blocks:
            injection.after(block, hidden, seen)
        for block, name in injection.linears:
            inputs, outputs, _ = injection.llm.blocks[block][name]
            x, y = torch.empty(1, read, inputs), torch.empty(1, read, outputs)
            injection.linear(block, name, x, y, seen)
    for hook in hooks:
        hook.remove()
    return put_out


def injection_of(design: Design, tokens: int) -> "Injection":
    """The design's injection without memory; `tokens`: of an image."""
    import torch

    from ablate.decoder import build_injection, random_language_model

    llm, cut = llm_spec(design.llm), design.tiling != TILING.default
    with torch.device("meta"):
        return build_injection(
            design.injection, random_language_model(llm), llm.name, tokens, cut=cut
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
        figures["named"] and (figures["named"][0], figures["named"][1]),
    )


@cache
def connector_figures(
    name: str,
    segments: tuple[tuple[int, int], ...],
    grids: tuple[Grid | None, ...],
    width: int,
    options: Options,
) -> Connected:
    """Of the connector of this name behind such segments, for a language model of this width."""
    asked = ("connector", name, CONNECTORS.fingerprint(name), segments, grids, width, options)
    figures = disk_cache(
        "figures", asked, lambda: _measured_connector(name, segments, grids, width, dict(options))
    )
    return Connected(
        figures["tokens"],
        figures["grid"] and (figures["grid"][0], figures["grid"][1]),
        Cost(figures["parameters"], figures["flops"], figures["outputs"]),
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
        "named": [fusion.most_named, fusion.named_flops()] if fusion.names_experts else None,
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
        "grid": connector.grid and list(connector.grid),
        "parameters": connector.num_parameters,
        "flops": connector.flops(QUESTION),
        "outputs": outputs,
    }
