"""Part of the preflight: every model of a study, through the shapes of a forward pass.

It is built without memory, on torch's meta device; each encoder, fusion and language model once.
What cannot do without memory is tried on the CPU instead.

Shapes: B images (1 here), C channels, H W a map's grid, S an encoder's resolution.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel

import fusion_zoo
from ablate.catalog import weights as hub
from ablate.catalog.axes import TILING
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.catalog.llms import LlmSpec
from ablate.catalog.micro_encoders import WEIGHTS
from ablate.catalog.model_spec import ModelSpec
from ablate.cost import encoders as cost
from ablate.decoder import build_injection, count_blocks
from ablate.encoders.base import Encoder
from ablate.encoders.build import build_encoder
from ablate.errors import UserError
from ablate.model.connected import build_connector, build_tiling
from ablate.model.injection import FusionInjection
from ablate.model.language import load_llm
from ablate.preflight.problems import from_error
from ablate.preflight.step import Problem
from fusion_zoo import FeatureMap, Fusion, Instruction, LanguageShape
from fusion_zoo.connectors import Connector
from fusion_zoo.injections import Injection

if TYPE_CHECKING:
    from ablate.worker.context import StepContext

KEPT, LEARNT = 4, 12
"""Bytes on the disk for each parameter, and those more of a checkpoint for one that learns."""
Made = TypeVar("Made")


def check_models(ctx: "StepContext") -> list[Problem]:
    """Weights that are there, shapes that fit, figures that can be told, and room."""
    trial = _Trial()
    sizes = {
        model["name"]: trial.size(
            ModelSpec.from_json(model["model"]), model["name"], model["room"], model["trained"]
        )
        for model in ctx.spec["models"]
    }
    largest, free = max(sizes, key=lambda name: sizes[name]), shutil.disk_usage(ctx.home).free
    if free < sizes[largest]:
        here = f"{free / 2**30:.1f} GiB are free at {ctx.home}"
        what = f"{here}, but a step of {largest} takes up to {sizes[largest] / 2**30:.1f} GiB"
        trial.problems.append(
            Problem(what, "make room, or choose another $ABLATE_HOME", broken=True)
        )
    return trial.problems


@dataclass
class Tried:
    """An encoder that has passed, the map it gives, and its pixels (B,3,S,S)."""

    encoder: Encoder
    features: FeatureMap
    pixels: Tensor


class _Trial:
    """What has been tried so far, each thing once (None: it did not pass), and its problems."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.known: dict[str, Any] = {}

    def size(self, spec: ModelSpec, name: str, room: int, trained: Sequence[str]) -> int:
        """Try out a model; the bytes that a step of it takes on the disk, 0 if it did not pass."""
        tried = [
            self._once(
                encoder_spec.to_json(),
                f"encoder '{encoder_spec.title}'",
                partial(try_encoder, encoder_spec),
            )
            for encoder_spec in spec.encoders
        ]
        encoders = [tried_encoder for tried_encoder in tried if tried_encoder is not None]
        llm = self._once(
            spec.llm.to_json(), f"llm '{spec.llm.name}'", partial(try_language_model, spec.llm)
        )
        if llm is None or len(encoders) < len(tried):
            return 0
        inside = encoders[0].encoder.spec.to_json()  # some fusions run the base's own blocks
        shapes = [list(tried_encoder.features.shape) for tried_encoder in encoders]
        with_llm = [spec.llm.to_json()] if fusion_zoo.takes_llm(spec.fusion["name"]) else []
        fusion = self._once(
            [spec.fusion, inside, shapes, *with_llm],
            f"fusion '{spec.fusion['name']}' of {name}",
            partial(try_fusion, spec, encoders, llm),
        )
        if fusion is None:
            return 0
        connector = self._once(
            [spec.connector, spec.tiling, fusion.segments, fusion.grids, spec.llm.width],
            f"connector '{spec.connector['name']}' of {name}",
            partial(try_connector, spec, fusion),
        )
        if connector is None:
            return 0
        tokens = build_tiling(spec).most_tokens(connector.num_tokens, connector.grid)
        injection = self._once(
            [spec.injection, spec.tiling, tokens, spec.llm.to_json()],
            f"injection '{spec.injection['name']}' of {name}",
            partial(try_injection, spec, tokens, llm),
        )
        if injection is None:
            return 0
        limit = min(spec.llm.context, room)
        tokens = injection.context_tokens(tokens)
        if tokens >= limit:
            what = f"{name}: the {tokens} tokens of an image leave no room for text in "
            remedy = (
                "take a smaller grid, fewer encoders or tiles, a connector of fewer tokens, or "
            )
            remedy += "raise max_length"
            self.problems.append(Problem(f"{what}{limit}", remedy))
        sizes = {
            "encoders": sum(_parameters(tried_encoder.encoder) for tried_encoder in encoders),
            "fusion": _parameters(fusion),
            "projector": _parameters(connector),
            "injection": _parameters(injection),
            "llm": _parameters(llm),
        }
        return KEPT * sum(sizes.values()) + LEARNT * sum(sizes[part] for part in trained)

    def _once(self, identity: Any, what: str, make: Callable[[], Made]) -> Made | None:
        key = json.dumps(identity, sort_keys=True)
        if key not in self.known:
            self.known[key] = None
            try:
                self.known[key] = make()
            except Exception as error:  # whatever a plug-in raises
                remedy = "mend it, or leave it out of the study"
                self.problems.append(from_error(what, error, remedy))
        known: Made | None = self.known[key]
        return known


def try_encoder(spec: EncoderSpec) -> Tried:
    """The encoder with its map; UserError if that is not of the shape its spec declares."""
    _find_weights(spec)
    return _without_memory(lambda device: _seen(spec, device))


def _seen(spec: EncoderSpec, device: str) -> Tried:
    encoder = build_encoder(spec, load_weights=False)
    pixels = torch.empty(1, encoder.channels, spec.resolution, spec.resolution, device=device)
    features = encoder(pixels)
    if features.tensor.dim() != 4 or features.shape != encoder.shape:
        c, h, w = encoder.shape
        raise UserError(
            f"its features are {tuple(features.tensor.shape)}, but its spec declares "
            f"(1, {c}, {h}, {w}): set its width, patch or unshuffle right"
        )
    cost.cost(spec)
    return Tried(encoder, features, pixels)


def _find_weights(spec: EncoderSpec) -> None:
    """The files' headers read; UserError where there is none, OSError where it cannot be read."""
    match spec.weights.kind:
        case "shipped":
            files = [WEIGHTS / spec.weights.ref]
        case "published":
            where = (spec.weights.ref, spec.weights.file, spec.weights.revision)
            file = hub.find_weights(f"encoder '{spec.title}'", *where)
            is_index = file.name.endswith(".index.json")
            names = sorted(set(hub.shards(file).values())) if is_index else [file.name]
            files = [file.with_name(name) for name in names]
        case "folder":
            files = [Path(spec.weights.ref) / spec.weights.file]
        case _:
            files = []
    _read_headers(files)


def _read_headers(files: Sequence[Path]) -> None:
    for file in files:
        with safe_open(file, framework="numpy") as opened:
            opened.keys()


def try_language_model(spec: LlmSpec) -> PreTrainedModel:
    """The language model without its weights; UserError where it cannot be built."""
    if spec.kind != "published" or (spec.folder / "config.json").is_file():
        _read_headers(sorted(spec.folder.glob("*.safetensors")))
    return _without_memory(lambda device: load_llm(spec, load_weights=False))


def try_fusion(spec: ModelSpec, encoders: Sequence[Tried], llm: PreTrainedModel) -> Fusion:
    """The fusion; UserError where what it gives is not what it declares."""
    base, grid = encoders[0], tuple(spec.fusion["grid"])

    def run(device: str) -> tuple[Fusion, list[Tensor]]:
        shapes = [tried.features.shape for tried in encoders]
        fusion = fusion_zoo.build(
            spec.fusion["name"],
            shapes,
            (grid[0], grid[1]),
            LanguageShape(spec.llm.width, count_blocks(llm)),
            **spec.fusion["options"],
        )
        maps = [FeatureMap(tried.features.tensor.to(device)) for tried in encoders]
        if base.features.tensor.device.type != device:  # it had to be tried on the CPU
            maps = [FeatureMap(torch.zeros(tokens.tensor.shape, device=device)) for tokens in maps]
        inside = base.encoder.blockwise(base.pixels) if fusion.reaches_inside_base else None
        instruction = torch.zeros(1, 3, spec.llm.width, device=device)
        context = Instruction(instruction, torch.ones(1, 3, dtype=torch.bool, device=device))
        given = fusion(maps, inside, context)
        for block in fusion.injects:
            seen = torch.ones(1, 3, given[-1].shape[1], dtype=torch.bool, device=device)
            changed = fusion.inject(block, instruction, given[-1], seen)
            if changed.shape != instruction.shape:
                raise UserError(
                    f"`inject` gives {tuple(changed.shape)} for {tuple(instruction.shape)}"
                )
        return fusion, given

    fusion, given = _without_memory(run)
    FusionInjection(fusion, llm, spec.llm.name)
    media = [fusion.media] if fusion.media else []
    declared = [(1, *segment) for segment in (*fusion.segments, *media)]
    shapes_given = [tuple(tokens.shape) for tokens in given]
    if shapes_given != declared:
        raise UserError(
            f"it gives tokens of {shapes_given}, but its segments{' and media' * len(media)} "
            f"declare {declared}; mend one of the two"
        )
    flops = fusion.flops()
    if not isinstance(flops, int) or flops < 0:
        raise UserError(f"its flops are {flops!r}; a whole number is needed")
    return fusion


def try_connector(spec: ModelSpec, fusion: Fusion) -> Connector:
    """The connector; UserError where what it gives is not what it declares."""

    def run(device: str) -> tuple[Connector, tuple[int, ...]]:
        connector = build_connector(spec, fusion)
        segments = [torch.zeros(1, *segment, device=device) for segment in connector.segments]
        instruction = torch.zeros(1, 3, spec.llm.width, device=device)
        context = Instruction(instruction, torch.ones(1, 3, dtype=torch.bool, device=device))
        given = connector(segments, context).shape if segments else (1, 0, spec.llm.width)
        return connector, tuple(given)

    connector, given = _without_memory(run)
    declared = (1, connector.num_tokens, spec.llm.width)
    if given != declared:
        raise UserError(f"it gives tokens of {given}, but it declares {declared}; mend one of them")
    flops = connector.flops()
    if not isinstance(flops, int) or flops < 0:
        raise UserError(f"its flops are {flops!r}; a whole number is needed")
    return connector


def try_injection(spec: ModelSpec, tokens: int, llm: PreTrainedModel) -> Injection:
    """The injection; UserError where it fits not the language model or an image's tokens."""
    cut = spec.tiling != TILING.default
    injection = _without_memory(
        lambda device: build_injection(spec.injection, llm, spec.llm.name, tokens, cut=cut)
    )
    flops = injection.flops(tokens), injection.token_flops(tokens)
    if not all(isinstance(count, int) and count >= 0 for count in flops):
        raise UserError(f"its flops are {flops!r}; whole numbers are needed")
    return injection


def _without_memory(make: Callable[[str], Made]) -> Made:
    """What is made on the meta device; on the CPU where that has no way to do it."""
    try:
        with torch.device("meta"), torch.no_grad():
            return make("meta")
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error).lower():
            raise
    with torch.device("cpu"), torch.no_grad():
        return make("cpu")


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
