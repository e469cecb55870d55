"""The experts of the paper (Eagle, Shi et al. 2024) and a few more, at their published sizes.

Each is its published checkpoint, seen at the layer its family's file names, and normalised as it
was trained (the released EAGLE normalises every image as CLIP's). A base is adapted to a resolution
it was not trained on in two ways: `clip-l14@672` interpolates its positions, `clip-l14-tiled@672`
sees tiles of its own 336 pixels. Any other resolution needs no entry. A name that ends in
`-pyramid` is the same network, whose earlier stages hand on their finer maps, too.

Three names end in `-eagle`: there the released code does other than the paper says, and these do as
the code does. They see the image resized corner to corner and without antialiasing, and normalised
with CLIP's mean and deviation whatever they were trained on. `clip-l14-eagle@336` is its "448",
which really shrinks the image to 336 pixels and leaves it to the fusion to up-sample the 24x24 map
to 32x32; `sam-l-eagle` drops SAM's neck for a shorter one that starts at random;
`eva02-l16-det-eagle` differs in nothing else. ConvNeXt and Pix2Struct are the same in both: at the
released code's 1,024 pixels nothing is resized.
"""

import dataclasses

from ablate.catalog.encoder_spec import EncoderSpec, Weights
from ablate.catalog.micro_encoders import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD


def _published(repository: str, file: str, revision: str | None = None) -> Weights:
    return Weights("published", repository, file=file, revision=revision)


CLIP = EncoderSpec(
    name="clip-l14",
    family="clip",
    resolution=448,
    patch=14,
    width=1024,
    mean=CLIP_MEAN,
    std=CLIP_STD,
    architecture={
        "image_size": 336,
        "patch_size": 14,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    },
    weights=_published(
        "openai/clip-vit-large-patch14-336",
        "pytorch_model.bin",
        "ce19dc912ca5cd21c8a653c79e251e808ccabcd1",
    ),
    task="image-text contrast",
    licence="MIT",
    source="Radford et al. 2021, at 336 px",
)

CONVNEXT = EncoderSpec(
    name="convnext-xxl",
    family="convnext",
    resolution=1024,
    patch=32,
    width=3072,
    mean=CLIP_MEAN,
    std=CLIP_STD,
    architecture={
        "depths": [3, 4, 30, 3],
        "dims": [384, 768, 1536, 3072],
        "norm_eps": 1e-5,
    },
    weights=_published("timm/convnext_xxlarge.clip_laion2b_soup", "model.safetensors"),
    task="image-text contrast",
    licence="MIT",
    source="OpenCLIP, LAION-2B, at 256 px",
)

CONVNEXT_L = dataclasses.replace(
    CONVNEXT,
    name="convnext-l",
    width=1536,
    architecture={"depths": [3, 3, 27, 3], "dims": [192, 384, 768, 1536]},
    weights=_published("timm/convnext_large_mlp.clip_laion2b_ft_320", "model.safetensors"),
    source="OpenCLIP, LAION-2B, at 320 px",
)

SAM = EncoderSpec(
    name="sam-l",
    family="sam",
    resolution=1024,
    patch=16,
    unshuffle=2,
    width=1024,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    architecture={
        "image_size": 1024,
        "patch_size": 16,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "mlp_ratio": 4.0,
        "output_channels": 256,
        "window_size": 14,
        "global_attn_indexes": [5, 11, 17, 23],
        "initializer_range": 0.02,
    },
    weights=_published("facebook/sam-vit-large", "model.safetensors"),
    task="segmentation",
    licence="Apache-2.0",
    source="Kirillov et al. 2023, with neck",
)

EVA02_DET = EncoderSpec(
    name="eva02-l16-det",
    family="eva02_det",
    resolution=1024,
    patch=16,
    width=1024,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    architecture={
        "window": 16,
        "global_blocks": [2, 5, 8, 11, 14, 17, 20, 23],
        "img_size": 224,
        "patch_size": 16,
        "embed_dim": 1024,
        "depth": 24,
        "num_heads": 16,
        "mlp_ratio": 8 / 3,
        "qkv_fused": False,
        "swiglu_mlp": True,
        "scale_mlp": True,
        "use_rot_pos_emb": True,
        "ref_feat_shape": 16,
    },
    weights=_published("Yuxin-CV/EVA-02", "eva02/det/eva02_L_coco_det_sys_o365.pth"),
    task="detection",
    licence="MIT",
    source="Fang et al. 2023, O365 and COCO",
)

DINOV2 = EncoderSpec(
    name="dinov2-l14",
    family="dinov2",
    resolution=448,
    patch=14,
    width=1024,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    architecture={
        "image_size": 518,
        "patch_size": 14,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "mlp_ratio": 4,
        "use_mask_token": False,
    },
    weights=_published("facebook/dinov2-large", "model.safetensors"),
    task="self-distillation",
    licence="Apache-2.0",
    source="Oquab et al. 2023, at 518 px",
)

DINOV2_REG = dataclasses.replace(
    DINOV2,
    name="dinov2-l14-reg",
    family="dinov2_registers",
    architecture={
        key: value for key, value in DINOV2.architecture.items() if key != "use_mask_token"
    },
    weights=_published("facebook/dinov2-with-registers-large", "model.safetensors"),
    source="Darcet et al. 2024, with 4 registers",
)

SPECS = [
    CLIP,
    CLIP.at(336),
    CLIP.at(672),
    dataclasses.replace(
        CLIP,
        name="clip-l14-tiled",
        resolution=672,
        tile=336,
        source="CLIP, in tiles of its 336 px",
    ),
    dataclasses.replace(
        CLIP,
        name="clip-l14-eagle",
        family="clip_aligned",
        resolution=336,
        source="EAGLE's '448': 336, up-sampled",
    ),
    dataclasses.replace(
        CLIP,
        name="clip-l14-llava",
        family="clip_llava",
        resolution=336,
        architecture={**CLIP.architecture, "num_hidden_layers": 23},
    ),
    CONVNEXT,
    CONVNEXT_L,
    dataclasses.replace(
        CONVNEXT,
        name="convnext-xxl-pyramid",
        pyramid=((16, 1536), (8, 768), (4, 384)),
        source="ConvNeXt-XXL, all four stages",
    ),
    dataclasses.replace(
        CONVNEXT_L,
        name="convnext-l-pyramid",
        resolution=768,
        pyramid=((16, 768), (8, 384), (4, 192)),
        source="Mini-Gemini's: all four stages",
    ),
    EVA02_DET,
    dataclasses.replace(
        EVA02_DET,
        name="eva02-l16-det-eagle",
        family="eva02_det_aligned",
        mean=CLIP_MEAN,
        std=CLIP_STD,
        source="EAGLE's: normalised as CLIP",
    ),
    SAM,
    dataclasses.replace(
        SAM,
        name="sam-l-eagle",
        family="sam_short",
        mean=CLIP_MEAN,
        std=CLIP_STD,
        source="EAGLE's: a short, random neck",
    ),
    EncoderSpec(
        name="pix2struct-l",
        family="pix2struct",
        resolution=1024,
        patch=16,
        max_patches=2048,
        width=1536,
        mean=(0.0, 0.0, 0.0),  # it standardises each image by itself
        std=(1.0, 1.0, 1.0),
        architecture={
            "seq_len": 4096,
            "patch_embed_hidden_size": 768,
            "hidden_size": 1536,
            "d_ff": 3968,
            "d_kv": 64,
            "num_hidden_layers": 18,
            "num_attention_heads": 24,
            "initializer_range": 0.02,
        },
        weights=_published("google/pix2struct-large", "pytorch_model.bin"),
        task="screenshot parsing",
        licence="Apache-2.0",
        source="Lee et al. 2023, to 2048 patches",
    ),
    DINOV2,
    DINOV2.at(518),
    DINOV2_REG,
    EncoderSpec(
        name="siglip-so400m",
        family="siglip",
        resolution=384,
        patch=14,
        ragged=True,
        width=1152,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        architecture={
            "image_size": 384,
            "patch_size": 14,
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
        },
        weights=_published("google/siglip-so400m-patch14-384", "model.safetensors"),
        task="image-text sigmoid",
        licence="Apache-2.0",
        source="Zhai et al. 2023",
    ),
    EncoderSpec(
        name="internvit-6b",
        family="internvit",
        resolution=448,
        patch=14,
        width=3200,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        architecture={
            "image_size": [448, 448],
            "patch_size": [14, 14],
            "hidden_size": 3200,
            "intermediate_size": 12800,
            "num_hidden_layers": 45,
            "num_attention_heads": 25,
            "norm_type": "rms_norm",
            "use_qk_norm": True,
        },
        weights=_published("OpenGVLab/InternViT-6B-448px-V1-5", "model.safetensors.index.json"),
        task="image-text, captions",
        licence="MIT",
        source="Chen et al. 2024, InternVL 1.5",
    ),
]
