"""The micro scale: the six families, small enough to train on a CPU core in seconds.

Each gives a 4x4 map of the 128x128 pixel canvas at its default resolution, one position a cell;
`convnext-micro-pyramid` is the same network as `convnext-micro`, whose earlier stages give theirs.
The weights lie in `ablate/weights/micro`, each with a card that says how they were made.
"""

import dataclasses
import json
from pathlib import Path

from ablate.catalog.encoder_spec import EncoderSpec, Weights

WEIGHTS = Path(__file__).parent.parent / "weights"

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# transformers initialises Pix2Struct and SAM with a deviation of 1e-10: nothing is ever learned.
INITIALIZER_RANGE = 0.03

EVA02 = {
    "img_size": 128,
    "patch_size": 16,
    "embed_dim": 96,
    "depth": 3,
    "num_heads": 4,
    "mlp_ratio": 2.0,
    "qkv_fused": False,
    "swiglu_mlp": True,
    "scale_mlp": True,
    "use_rot_pos_emb": True,
    "ref_feat_shape": 8,
}


def _shipped(name: str) -> Weights:
    return Weights("shipped", f"micro/{name}.safetensors")


def with_checksum(spec: EncoderSpec) -> EncoderSpec:
    """`spec` with the sha256 of its shipped weights, read from the card beside them."""
    card = (WEIGHTS / spec.weights.ref).with_suffix(".json")
    if spec.weights.kind != "shipped" or spec.weights.sha256 or not card.exists():
        return spec
    sha256 = json.loads(card.read_text(encoding="utf-8"))["sha256"]
    return dataclasses.replace(spec, weights=dataclasses.replace(spec.weights, sha256=sha256))


DETECTOR = EncoderSpec(
    name="eva02-micro",
    family="eva02",
    resolution=128,
    patch=16,
    unshuffle=2,
    width=384,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    architecture=EVA02,
    weights=_shipped("eva02-micro"),
    task="detection",
    licence="Apache-2.0",
    source="this project",
)

CONVNEXT = EncoderSpec(
    name="convnext-micro",
    family="convnext",
    resolution=128,
    patch=32,
    width=128,
    mean=CLIP_MEAN,
    std=CLIP_STD,
    architecture={"depths": [1, 1, 2, 1], "dims": [16, 32, 64, 128]},
    weights=_shipped("convnext-micro"),
    task="image-text contrast",
    licence="Apache-2.0",
    source="this project",
)

SPECS = [
    EncoderSpec(
        name="clip-micro",
        family="clip",
        resolution=32,
        patch=8,
        width=96,
        mean=CLIP_MEAN,
        std=CLIP_STD,
        architecture={
            "image_size": 32,
            "patch_size": 8,
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
        },
        weights=_shipped("clip-micro"),
        task="image-text contrast",
        licence="Apache-2.0",
        source="this project",
    ),
    CONVNEXT,
    DETECTOR,
    EncoderSpec(
        name="pix2struct-micro",
        family="pix2struct",
        resolution=128,
        patch=16,
        unshuffle=2,
        max_patches=256,
        width=384,
        mean=(0.0, 0.0, 0.0),  # it standardises each image by itself
        std=(1.0, 1.0, 1.0),
        architecture={
            "seq_len": 257,  # rows and columns are counted from 1
            "patch_embed_hidden_size": 768,
            "hidden_size": 96,
            "d_ff": 192,
            "d_kv": 24,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "initializer_range": INITIALIZER_RANGE,
        },
        weights=_shipped("pix2struct-micro"),
        task="text recognition",
        licence="Apache-2.0",
        source="this project",
    ),
    EncoderSpec(
        name="sam-micro",
        family="sam",
        resolution=128,
        patch=16,
        unshuffle=2,
        width=256,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        architecture={
            "image_size": 128,
            "patch_size": 16,
            "hidden_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "mlp_ratio": 2.0,
            "output_channels": 64,
            "window_size": 4,
            "global_attn_indexes": [2],
            "initializer_range": INITIALIZER_RANGE,
        },
        weights=_shipped("sam-micro"),
        task="segmentation",
        licence="Apache-2.0",
        source="this project",
    ),
    EncoderSpec(
        name="dinov2-micro",
        family="dinov2",
        resolution=64,
        patch=8,
        unshuffle=2,
        width=384,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        architecture={
            "image_size": 64,
            "patch_size": 8,
            "hidden_size": 96,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "mlp_ratio": 2,
            "use_mask_token": False,
        },
        weights=_shipped("dinov2-micro"),
        task="self-distillation",
        licence="Apache-2.0",
        source="this project",
    ),
    dataclasses.replace(
        DETECTOR,
        name="untrained-micro",
        weights=Weights("none"),
        init_seed=20,
        task="none: the control",
        source="random",
    ),
    dataclasses.replace(
        CONVNEXT, name="convnext-micro-pyramid", pyramid=((16, 64), (8, 32), (4, 16))
    ),
]
