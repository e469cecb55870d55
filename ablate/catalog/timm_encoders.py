"""Every vision network of timm as an encoder: `timm:NAME@RES`, `timm:NAME.TAG@RES`.

What a study must know of them is a table that comes with us, `timm_facts.json`, made by
`tools/timm_facts.py` from timm's own networks and configurations: importing timm takes seconds, and
the same names mean the same whatever timm is installed. Imports no torch.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ablate.catalog.encoder_spec import EncoderSpec, Weights
from ablate.catalog.micro_encoders import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from ablate.errors import UserError, nearest

FILE = Path(__file__).with_name("timm_facts.json")
PREFIX = "timm:"

SIZINGS = {
    "dynamic": "positions are interpolated to each image",
    "any": "it has no positions",
    "sized": "it is built for a size, positions are resampled when weights are loaded",
    "fixed": "it takes the size it was trained on alone",
}
"""How a network comes to other sizes than its own."""

NORMS = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "clip": (CLIP_MEAN, CLIP_STD),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "dpn": (
        (124 / 255, 117 / 255, 104 / 255),
        (1 / (0.0167 * 255), 1 / (0.0167 * 255), 1 / (0.0167 * 255)),
    ),
    "sapiens": ((0.43, 0.411, 0.296), (0.213, 0.156, 0.143)),
}
"""Means and deviations of pixels, as timm's configurations have them."""


LICENCES = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "bsd-3-clause": "BSD-3",
    "cc-by-nc-4.0": "CC BY-NC 4.0",
    "cc-by-4.0": "CC BY 4.0",
    "dinov3-license": "DINOv3",
    "nvidia-open-model-license": "NVIDIA Open",
    "fair-noncommercial-research-license": "FAIR, non-com.",
    "apple-ascl": "Apple ASCL",
    "apple-amlr": "Apple AMLR",
}
"""What timm's configurations call them, and a table here does; any other goes by timm's word."""


@cache
def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return facts


def names() -> list[str]:
    """`timm:NAME` of each network, and `timm:NAME.TAG` of weights that are not its default."""
    return [
        PREFIX + (f"{name}.{tag}" if number else name)
        for name, facts in _facts()["models"].items()
        for number, tag in enumerate(facts["tags"])
    ]


def resolve(title: str) -> EncoderSpec:
    """The encoder `timm:NAME[.TAG][@RES]`; UserError names the nearest that there is."""
    name, _, size = title.removeprefix(PREFIX).partition("@")
    network, _, tag = name.partition(".")
    if reason := _facts()["without"].get(network):
        close = nearest(PREFIX + name, names())
        raise UserError(f"encoder '{title}': timm's '{network}' cannot be one: {reason}{close}")
    facts = _facts()["models"].get(network)
    if facts is None or (tag and tag not in facts["tags"]):
        raise UserError(f"unknown encoder '{title}'{nearest(PREFIX + name, names())}")
    if size and not size.isdecimal():
        example = f"{PREFIX}{name}@{facts['size']}"
        raise UserError(f"encoder '{title}': a resolution is a number, as in '{example}'")
    default = next(iter(facts["tags"]))
    return _spec(network, tag or default, facts, int(size) if size else None)


def _spec(network: str, tag: str, facts: Mapping[str, Any], size: int | None) -> EncoderSpec:
    """The network with the weights of a tag, at a resolution or the one they were trained at."""
    default, weights = next(iter(facts["tags"])), facts["tags"][tag]
    name = PREFIX + (network if tag == default else f"{network}.{tag}")
    if size is None:
        size = weights["size"] if _takes(facts, weights, weights["size"]) else facts["size"]
    if not _takes(facts, weights, size):
        raise _misfit(name, facts, size)
    architecture: dict[str, Any] = {"model": f"{network}.{tag}"}
    if facts["sizing"] == "dynamic":
        architecture["dynamic_img_size"] = True
    if facts["sizing"] == "sized":
        architecture["img_size"] = size
    if "norm" in facts:
        architecture["norm"] = False
    mean, std = NORMS[weights["norm"]]
    repository = weights.get("repository", f"timm/{network}.{tag}")
    return EncoderSpec(
        name=name,
        family="timm",
        resolution=size,
        patch=facts["patch"],
        width=facts["width"],
        mean=mean,
        std=std,
        architecture=architecture,
        weights=Weights("published", repository, file="model.safetensors"),
        ragged=bool(size % facts["patch"]),
        task=tag,
        licence=LICENCES.get(weights["licence"], weights["licence"]),
        source="timm",
    )


def _takes(facts: Mapping[str, Any], weights: Mapping[str, Any], size: int) -> bool:
    """Whether it takes this size: a multiple of its step, or its weights' own in any case."""
    if facts["sizing"] == "fixed":
        return bool(size == facts["size"])
    ragged = facts["sizing"] == "dynamic" and size == weights["size"]
    return size > 0 and (size % (facts["patch"] * facts["step"]) == 0 or ragged)


def _misfit(name: str, facts: Mapping[str, Any], size: int) -> UserError:
    if facts["sizing"] == "fixed":
        return UserError(f"encoder '{name}' takes {facts['size']} pixels alone, not {size}")
    step = facts["patch"] * facts["step"]
    below = max(step, size // step * step)
    return UserError(
        f"encoder '{name}' cannot take {size} pixels: its sides are multiples of {step}; the "
        f"nearest are {below} and {below + step}"
    )


def cost(spec: EncoderSpec) -> tuple[int, int, int] | None:
    """Parameters, FLOPs and outputs (`ablate.cost.encoders.Cost`) of one image at its resolution;
    None where the table does not have them: at most sizes of networks that have windows."""
    facts = _known(spec)
    changed = spec.architecture.keys() - {"model", "norm", "dynamic_img_size", "img_size"}
    if not facts or changed or spec.layer is not None:
        return None
    if spec.resolution != facts["size"] and len(facts["flops"]) == 1:
        return None
    rows, columns = spec.patches(spec.resolution, spec.resolution)
    flops, outputs = (
        sum(factor * (rows * columns) ** power for power, factor in enumerate(facts[key]))
        for key in ("flops", "outputs")
    )
    return facts["parameters"], flops, outputs


def listed(spec: EncoderSpec) -> tuple[int, int | None] | None:
    """Parameters, and FLOPs where the table has them; None for what is no network of timm."""
    if spec.family != "timm":
        return None
    known = cost(spec)
    parameters, flops = known[:2] if known else (_known(spec).get("parameters", 0), None)
    return parameters, flops


def blocks(spec: EncoderSpec) -> int:
    """How many blocks of one width and grid the network has; 0 if it is no plain transformer."""
    return int(_known(spec).get("blocks", 0))


def _known(spec: EncoderSpec) -> dict[str, Any]:
    """The facts of a network; none of one that the table does not have."""
    name = spec.architecture["model"].partition(".")[0]
    facts: dict[str, Any] = _facts()["models"].get(name, {})
    return facts
