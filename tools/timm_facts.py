"""Write ablate/catalog/timm_facts.json anew: what a study must know of timm's networks.

Each is built on torch's meta device, without weights and without a network; it takes a quarter of
an hour on one processor. Run it once timm is another version: `python tools/timm_facts.py`, or with
names of networks, for those alone.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import timm
import torch
from torch import Tensor

from ablate.catalog import timm_encoders as catalog
from ablate.catalog.encoder_spec import EncoderSpec, Weights
from ablate.cost.encoders import counted
from ablate.encoders.networks import create_model
from ablate.encoders.timm import TimmEncoder
from ablate.files import atomic_file

STEPS = (1, 2, 4, 7, 8, 16)
"""Of how many patches a side may have to be a multiple: the first that will do."""

WAYS: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {}, {"norm": False})
"""How a network may be built, the first that will do: see `timm_encoders.SIZINGS`."""

BY_SIZE = {"vision_transformer", "eva", "naflexvit", "convnext", "deit", "davit", "beit", "vitamin"}
"""Modules whose networks are often seen at other sizes: their FLOPs are written down for all."""


class NoMapError(Exception):
    """Why a network is no encoder of a study."""


class Probe(TimmEncoder):
    """The network at whatever size; keeps the maps of all its layers."""

    layer_maps: Sequence[Tensor] = ()
    family: ClassVar[str] = "timm"

    def __init__(self, name: str, size: int, how: dict[str, Any]) -> None:
        unit = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        with torch.device("meta"):
            super().__init__(
                EncoderSpec(
                    name, "timm", size, 1, 0, *unit, {"model": name, **how}, Weights("none")
                )
            )
        self.eval()

    def features(self, pixels: Tensor) -> Tensor:
        norm = self.spec.architecture.get("norm", True)
        self.layer_maps = self._run(pixels, intermediates_only=True, norm=norm)
        return self.layer_maps[-1]

    def side(self, size: int) -> int:
        """Of the map of a square image, 0 where the network cannot take it."""
        try:
            with torch.device("meta"), torch.no_grad():
                height, width = self.features(torch.rand(1, 3, size, size)).shape[2:]
        except Exception:  # whatever a network raises that is not made for this size
            return 0
        return height if height == width else 0


def facts_of(name: str) -> dict[str, Any]:
    """What there is to know of one network; NoMapError if it is no encoder."""
    tags = dict(_tags(name))
    if not tags:
        raise NoMapError("timm has no weights of it on the hub")
    native = next(iter(tags.values()))["size"]
    probe, cost = _built(name, native)
    how = {key: value for key, value in probe.spec.architecture.items() if key != "model"}
    shape = probe.layer_maps[-1].shape
    blocks = len(probe.layer_maps) if len({level.shape for level in probe.layer_maps}) == 1 else 0
    plain = blocks > 1 and probe.num_blocks == blocks and hasattr(probe.model, "norm")
    sizing, patch, step = _sizing(name, probe, native, shape[2])
    facts: dict[str, Any] = {"sizing": sizing, "patch": patch, "step": step, "width": shape[1]}
    facts |= {"size": probe.spec.resolution, "blocks": blocks if plain else 0}
    facts |= {"norm": False} if "norm" in how else {}
    counts = [cost]
    module = timm.models.model_entrypoint(name).__module__.rpartition(".")[2]
    if sizing in ("dynamic", "any") and module in BY_SIZE:
        first = max(1, native // (patch * step))
        counts = [counted(probe, patch * step * (first + more)) for more in range(3)]
        rows = [step * (first + more) for more in range(3)]
        facts |= {"flops": _by_patches(rows, [cost.flops for cost in counts])}
        facts |= {"outputs": _by_patches(rows, [cost.outputs for cost in counts])}
    if sizing == "any" and native % (patch * step):
        facts["size"] = (native // (patch * step) + 1) * patch * step
        cost = counted(probe, facts["size"])
    facts = {"flops": [cost.flops], "outputs": [cost.outputs], **facts}
    return {**facts, "parameters": cost.parameters, "tags": tags}


def _tags(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Weights on the hub by tag, timm's default first."""
    listed = timm.models._registry._model_default_cfgs[name]
    for tag in listed.tags:
        config = listed.cfgs[tag]
        if config.hf_hub_id and config.input_size[0] == 3:
            norms = (tuple(config.mean), tuple(config.std))
            norm = next(key for key, known in catalog.NORMS.items() if known == norms)
            facts = {"size": max(config.input_size[1:]), "norm": norm}
            repository = config.hf_hub_id if config.hf_hub_id[-1] != "/" else f"timm/{name}.{tag}"
            facts |= {"repository": repository} if repository != f"timm/{name}.{tag}" else {}
            yield tag, {**facts, "licence": config.license or ""}


def _built(name: str, native: int) -> tuple[Probe, Any]:
    """The network, and its cost at its own size or the next smaller that its patches divide."""
    for how in WAYS:
        try:
            probe = Probe(name, native, how)
            patches = getattr(probe.model, "patch_embed", None)
            side = getattr(patches, "patch_size", (1,))[0] if "dynamic_img_size" in how else 1
            cost = counted(probe, native // side * side)
        except Exception as error:  # whatever a network raises that is not made for this
            message = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        else:
            break
    else:
        raise NoMapError(f"it cannot be tried without memory: {message}")
    shape = probe.layer_maps[-1].shape
    if len(shape) != 4 or shape[2] != shape[3]:
        raise NoMapError(f"of a square image it gives {tuple(shape)}")
    return probe, cost


def _sizing(name: str, probe: Probe, native: int, side: int) -> tuple[str, int, int]:
    """How it comes to other sizes (`timm_encoders.SIZINGS`), its patch, and the step of a side."""
    how = {key: value for key, value in probe.spec.architecture.items() if key != "model"}
    listed = getattr(probe.model, "feature_info", None)
    stride = listed[-1].get("reduction") if isinstance(listed, list) else None
    whole = native // side
    for patch in dict.fromkeys([stride or whole, *([whole] if native % whole == 0 else [])]):
        for step in STEPS:
            sides = [step * (max(1, native // (patch * step)) + more) for more in (1, 2)]
            if all(probe.side(patch * multiple) == multiple for multiple in sides):
                return "dynamic" if "dynamic_img_size" in how else "any", patch, step
    for step in STEPS if native % whole == 0 else ():
        offered = step * (max(1, native // (whole * step)) + 1)
        try:
            resampled = _resampled(name, probe, {**how, "img_size": whole * offered})
            if resampled.side(whole * offered) == offered:
                return "sized", whole, step
        except Exception:  # whatever a network raises that is not made for this size
            continue
    return "fixed", whole, 1


def _resampled(name: str, probe: Probe, how: dict[str, Any]) -> Probe:
    """The network built for another size, which takes weights of this one."""
    with torch.device("meta"):
        state = create_model(name).state_dict()
        arguments = {key: value for key, value in how.items() if key != "norm"}
        overlay = {"state_dict": state, "custom_load": False}
        create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **arguments)
    return Probe(name, probe.spec.resolution, how)


def _by_patches(sides: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Coefficients of a polynomial in the number of patches, its constant first; of the first count
    alone where there is none of whole numbers."""
    points = [
        (Fraction(side * side), Fraction(count)) for side, count in zip(sides, counts, strict=True)
    ]
    (a, x), (b, y), (c, z) = points
    square = ((z - x) / (c - a) - (y - x) / (b - a)) / (c - b)
    slope = (y - x) / (b - a) - square * (a + b)
    factors = [x - slope * a - square * a * a, slope, square]
    if any(factor.denominator != 1 for factor in factors):
        return [counts[0]]
    return [int(factor) for factor in factors]


def main(names: Sequence[str]) -> None:
    """Write the facts of all networks, or of some beside those that are known."""
    known = json.loads(catalog.FILE.read_text()) if names else {"models": {}, "without": {}}
    for name in names or timm.list_models():
        known["models"].pop(name, None)
        known["without"].pop(name, None)
        try:
            known["models"][name] = facts_of(name)
        except NoMapError as error:
            known["without"][name] = str(error)
        print(name, known["without"].get(name, ""), flush=True)
    known["timm"] = timm.__version__
    with atomic_file(catalog.FILE) as draft:
        Path(draft).write_text(_text(known))


def _text(known: dict[str, Any]) -> str:
    """JSON with a line a network."""
    parts = [f'"timm": {json.dumps(known["timm"])}']
    for key in ("models", "without"):
        lines = (
            f"{json.dumps(name)}: {json.dumps(fact)}" for name, fact in sorted(known[key].items())
        )
        parts.append(f'"{key}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main(sys.argv[1:])
