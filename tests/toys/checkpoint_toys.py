"""Toy checkpoints: tensors under their published names, and upstream models to save."""

from collections.abc import Mapping
from typing import Any

import torch
from encoder_toys import SAM
from torch import Tensor, nn
from transformers import SamConfig, SamModel

REPOSITORY = "someone/model"
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 10,
}


def scattered(model: nn.Module) -> Any:
    """The model with all its parameters away from their initial zeros and ones."""
    generator = torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def sam_model(architecture: Mapping[str, Any] = SAM.architecture) -> Any:
    small = {"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 8}
    sizes = {name: architecture[name] for name in ("image_size", "patch_size")}
    config = SamConfig(
        vision_config=dict(architecture),
        prompt_encoder_config={"hidden_size": 16, **sizes},
        mask_decoder_config=small,
    )
    return scattered(SamModel(config))


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.manual_seed(0)
    return {
        name: 0.3 * torch.randn(shape, generator=generator) + ("norm" in name or "ln." in name)
        for name, shape in shapes.items()
    }


def eva02_state(depth: int, width: int, inner: int, table: int, patch: int) -> dict[str, Tensor]:
    """A detector's checkpoint: the backbone's tensors under their published names, and others."""
    shapes: dict[str, tuple[int, ...]] = {
        "pos_embed": (1, table + 1, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    for n in range(depth):
        block = {f"attn.{part}_proj.weight": (width, width) for part in "qkv"}
        block |= {"attn.q_bias": (width,), "attn.v_bias": (width,)}
        block |= {"attn.proj.weight": (width, width), "attn.proj.bias": (width,)}
        for norm, size in ("norm1", width), ("norm2", width), ("mlp.ffn_ln", inner):
            block |= {f"{norm}.weight": (size,), f"{norm}.bias": (size,)}
        for name, (o, i) in {
            "w1": (inner, width),
            "w2": (inner, width),
            "w3": (width, inner),
        }.items():
            block |= {f"mlp.{name}.weight": (o, i), f"mlp.{name}.bias": (o,)}
        shapes |= {f"blocks.{n}.{name}": shape for name, shape in block.items()}
    state = {f"backbone.net.{name}": tensor for name, tensor in drawn(shapes).items()}
    rest = ("backbone.net.rope_win.freqs_cos", "backbone.net.blocks.0.attn.rope.freqs_sin")
    rest += ("backbone.simfp_2.0.weight", "roi_heads.box_head.fc1.bias", "proposal_generator.x")
    return state | {name: torch.zeros(3) for name in rest}


def internvit_state(patch: int = 8, table: int = 16) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.class_embedding": (1, 1, 32),
        "embeddings.position_embedding": (1, table + 1, 32),
        "embeddings.patch_embedding.weight": (32, 3, patch, patch),
        "embeddings.patch_embedding.bias": (32,),
    }
    for n in range(2):
        layer: dict[str, tuple[int, ...]] = {
            "attn.qkv.weight": (96, 32),
            "attn.q_norm.weight": (32,),
            "attn.k_norm.weight": (32,),
            "attn.proj.weight": (32, 32),
            "attn.proj.bias": (32,),
            "mlp.fc1.weight": (48, 32),
            "mlp.fc1.bias": (48,),
            "mlp.fc2.weight": (32, 48),
            "mlp.fc2.bias": (32,),
            "norm1.weight": (32,),
            "norm2.weight": (32,),
            "ls1": (32,),
            "ls2": (32,),
        }
        shapes |= {f"encoder.layers.{n}.{name}": shape for name, shape in layer.items()}
    return drawn(shapes)
