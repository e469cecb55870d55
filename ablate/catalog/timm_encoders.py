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


@cache
def _facts() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


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
    known = _facts()["models"].get(network)
    if reason := _facts()["without"].get(network):
        raise UserError(f"encoder '{title}': '{network}' of timm cannot be an encoder: {reason}")
    if known is None or (tag and tag not in known["tags"]):
        raise UserError(f"unknown encoder '{title}'{nearest(PREFIX + name, names())}")
    if size and not size.isdecimal():
        raise UserError(f"encoder '{title}': a resolution is a number, as in '{PREFIX}{name}@384'")
    return built(network, tag, known, int(size) if size else None)


def built(name: str, tag: str, facts: Mapping[str, Any], resolution: int | None) -> EncoderSpec:
    """The encoder of a network with these facts, at a resolution or its weights' own."""
    tags = facts.get("tags", {"": {"size": facts["size"], "norm": "none", "repository": ""}})
    default = next(iter(tags))
    own = tags[tag or default]
    unit = facts["patch"] * facts["step"]
    size = resolution or (own["size"] if _takes(facts, own, own["size"]) else facts["size"])
    title = PREFIX + name + (f".{tag}" if tag not in ("", default) else "")
    if not _takes(facts, own, size):
        if facts["sizing"] == "fixed":
            raise UserError(f"encoder '{title}' takes {facts['size']} pixels alone, not {size}")
        below = max(unit, size // unit * unit)
        raise UserError(
            f"encoder '{title}' cannot take {size} pixels: its sides are multiples of {unit}; the "
            f"nearest are {below} and {below + unit}"
        )
    arguments = {"dynamic": {"dynamic_img_size": True}, "sized": {"img_size": size}}
    sizing = arguments.get(facts["sizing"], {})
    repository = own.get("repository", f"timm/{name}.{tag or default}")
    mean, std = NORMS[own["norm"]]
    model = f"{name}.{tag or default}" if tag or default else name
    return EncoderSpec(
        name=title,
        family="timm",
        resolution=size,
        patch=facts["patch"],
        width=facts["width"],
        mean=mean,
        std=std,
        architecture={"model": model, **sizing, **({"norm": False} if "norm" in facts else {})},
        weights=Weights("published", repository, file="model.safetensors")
        if repository
        else Weights("none"),
        ragged=bool(size % facts["patch"]),
        task=tag or default if repository else "random weights",
        licence=own.get("licence", ""),
        source="timm",
    )


def cost(spec: EncoderSpec) -> tuple[int, int, int] | None:
    """Parameters, FLOPs and outputs (`ablate.cost.encoders.Cost`) of one image at its resolution;
    None where the table does not have them: at most sizes of networks that have windows."""
    facts = _facts()["models"].get(spec.architecture["model"].partition(".")[0])
    if facts is None or spec.layer is not None:
        return None
    if spec.resolution != facts["size"] and len(facts["flops"]) == 1:
        return None
    rows, columns = spec.patches(spec.resolution, spec.resolution)
    flops, outputs = (
        sum(factor * (rows * columns) ** power for power, factor in enumerate(facts[key]))
        for key in ("flops", "outputs")
    )
    return facts["parameters"], flops, outputs


def blocks(spec: EncoderSpec) -> int:
    """How many blocks of one width and grid the network has; 0 if it is no plain transformer."""
    facts = _facts()["models"].get(spec.architecture["model"].partition(".")[0], {})
    return int(facts.get("blocks", 0))


def _takes(facts: Mapping[str, Any], own: Mapping[str, Any], size: int) -> bool:
    """Whether it takes this size: a multiple of its step, or its own whatever its patch."""
    if facts["sizing"] == "fixed":
        return bool(size == facts["size"])
    ragged = facts["sizing"] == "dynamic" and size == own["size"]
    return size > 0 and (size % (facts["patch"] * facts["step"]) == 0 or ragged)
