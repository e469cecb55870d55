"""Specs of families the micro scale lacks, small, and the way to any small spec by name."""

import dataclasses

from ablate.catalog import encoders as registry
from ablate.catalog import micro_encoders as micro
from ablate.catalog.encoder_spec import EncoderSpec, Weights
from ablate.cost.encoders import parameters

HALF = (0.5, 0.5, 0.5)
CLIP, SAM = (next(s for s in micro.SPECS if s.family == family) for family in ("clip", "sam"))


def _toy(name: str, family: str, patch: int, **rest: object) -> EncoderSpec:
    fields = {"resolution": 64, "width": 32, "mean": HALF, "std": HALF, "weights": Weights("none")}
    return EncoderSpec(name=name, family=family, patch=patch, **{**fields, **rest})  # type: ignore[arg-type]


EVA02_DET = _toy(
    "eva02-det-toy",
    "eva02_det",
    8,
    architecture={
        "window": 3,  # does not divide the 8x8 map: windows are filled up
        "global_blocks": [1],
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 32,
        "depth": 3,
        "num_heads": 2,
        "mlp_ratio": 8 / 3,
        "qkv_fused": False,
        "swiglu_mlp": True,
        "scale_mlp": True,
        "use_rot_pos_emb": True,
        "ref_feat_shape": 3,
    },
)
INTERNVIT = _toy(
    "internvit-toy",
    "internvit",
    8,
    architecture={
        "image_size": [32, 32],
        "patch_size": [8, 8],
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "norm_type": "rms_norm",
        "use_qk_norm": True,
    },
)
SIGLIP = _toy(
    "siglip-toy",
    "siglip",
    8,
    architecture={
        "image_size": 32,
        "patch_size": 8,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
)
SAM_SHORT = dataclasses.replace(SAM, name="sam-short-toy", family="sam_short")
CLIP_TILED = dataclasses.replace(CLIP, name="clip-tiled-toy", resolution=64, tile=32)

CLIP_ALIGNED = dataclasses.replace(CLIP, name="clip-aligned-toy", family="clip_aligned")
CLIP_LLAVA = dataclasses.replace(
    CLIP, name="clip-llava-toy", family="clip_llava", weights=Weights("none")
)
DINOV2 = next(spec for spec in micro.SPECS if spec.family == "dinov2")
DINOV2_REGISTERS = dataclasses.replace(
    DINOV2,
    name="dinov2-registers-toy",
    family="dinov2_registers",
    architecture={
        key: value for key, value in DINOV2.architecture.items() if key != "use_mask_token"
    },
    weights=Weights("none"),
)
MAP = _toy("map-toy", "map", 16, architecture={"annotator": {"name": "micro_kinds"}, "channels": 3})
EVA02_ALIGNED = dataclasses.replace(EVA02_DET, name="eva02-toy", family="eva02_det_aligned")

TIMM = _toy(
    "timm-toy",
    "timm",
    8,
    architecture={
        "model": "vit_tiny_patch16_224",
        "dynamic_img_size": True,
        "img_size": 32,
        "patch_size": 8,
        "embed_dim": 32,
        "depth": 3,
        "num_heads": 2,
    },
)
HUB = _toy(
    "hub-toy",
    "hf",
    8,
    architecture={
        "model_type": "dinov2_with_registers",
        "image_size": 32,
        "patch_size": 8,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "mlp_ratio": 2,
    },
)
TIMM_DENSE = dataclasses.replace(TIMM, name="timm-dense-toy", dense="dci", width=96)
CLIP_DENSE = dataclasses.replace(
    CLIP, name="clip-dense-toy", dense="sci", width=3 * CLIP.width, weights=Weights("none")
)

SMALL = 5_000_000
ADDED = [
    spec
    for spec in registry.specs()
    if spec.title not in {one.title for one in registry.OURS} and parameters(spec) < SMALL
]
"""What stands beside its family's class, or comes from another package: the same contract holds."""

SPECS = [
    *micro.SPECS,
    EVA02_DET,
    INTERNVIT,
    SIGLIP,
    SAM_SHORT,
    CLIP_TILED,
    CLIP_ALIGNED,
    CLIP_LLAVA,
    DINOV2_REGISTERS,
    EVA02_ALIGNED,
    TIMM,
    TIMM_DENSE,
    CLIP_DENSE,
    HUB,
    MAP,
    *ADDED,
]


def find(name: str) -> EncoderSpec:
    """The small spec of this name or title."""
    return next(spec for spec in SPECS if name in (spec.name, spec.title))
