"""The peer of `fit` and `answering`: the same model as transformers' LLaVA, fed sample by sample.

It has the weights of ours, but for a class token that CLIP sees in transformers and EAGLE drops:
17 visual positions inside the encoder for our 16, and the same 16 handed on.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from ablate.catalog import encoders as registry
from ablate.catalog import llms
from ablate.catalog.model_spec import ModelSpec
from ablate.data.batch import IGNORE_INDEX, IMAGE_TOKEN_ID
from ablate.data.chat import Chat
from ablate.data.conversations import conversation
from ablate.data.prepare import prepare
from ablate.model.language import load_tokenizer
from ablate.model.mllm import Mllm, build_model

TITLE, SIDE = "clip-micro@32", 4
SPEC = ModelSpec(
    [registry.resolve(TITLE)],
    {"name": "channel_concat", "grid": [SIDE, SIDE], "options": {}},
    "none",
    llms.resolve("llama-micro"),
)
"""The micro base candidate, with the weights that ship."""


def our_model() -> Mllm:
    return build_model(SPEC, seed=0)


def llava(ours: Mllm) -> LlavaForConditionalGeneration:
    """Transformers' LLaVA with the weights of `ours`, and a row more for its image token."""
    clip, text = ours.mixture.encoders[0], ours.llm.config.to_dict()
    image = text["vocab_size"]
    text["vocab_size"] += 1
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**clip.spec.architecture),
        text_config=text,
        image_token_index=image,
        image_seq_length=SIDE**2,
        projector_hidden_act="gelu",
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    peer = LlavaForConditionalGeneration(config)
    first, _, second = ours.projector.layers[0]
    weights: dict[str, Tensor] = {}
    parts = {
        "model.multi_modal_projector.linear_1": first,
        "model.multi_modal_projector.linear_2": second,
        "model.vision_tower": clip.model,
        "model.language_model": ours.llm.model,
    }
    for prefix, part in parts.items():
        weights |= {f"{prefix}.{name}": value for name, value in part.state_dict().items()}
    embedding = "model.language_model.embed_tokens.weight"
    weights[embedding] = torch.cat([weights[embedding], weights[embedding].mean(0, keepdim=True)])
    absent, unknown = peer.load_state_dict(weights, strict=False)
    known = ("class_embedding", "post_layernorm", "lm_head")  # not ours, or tied
    odd = [name for name in absent if not any(word in name for word in known)]
    assert not odd + unknown, odd + unknown
    peer.tie_weights()
    return peer


def save_llava(folder: Path) -> None:
    """The same as a folder that transformers loads, whose processor makes our prompts."""
    peer, tokenizer = llava(our_model()), load_tokenizer(SPEC.llm)
    peer.config.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    processor = LlavaProcessor(
        image_processor=image_processor(),
        tokenizer=tokenizer,
        patch_size=SPEC.encoders[0].patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # CLIP's class token, which it drops
    )
    peer.save_pretrained(folder)
    processor.save_pretrained(folder)


def image_token(peer: LlavaForConditionalGeneration) -> int:
    return int(peer.config.image_token_index)


def image_processor() -> CLIPImageProcessor:
    """What makes of an image the pixels that ours sees."""
    spec = SPEC.encoders[0]
    size = {"height": spec.resolution, "width": spec.resolution}
    return CLIPImageProcessor(
        size=size,
        crop_size=size,
        do_center_crop=False,
        resample=Image.Resampling.BILINEAR,
        image_mean=list(spec.mean),
        image_std=list(spec.std),
    )


class Processor:
    """Text and image of one sample as LLaVA's processor makes them, with our chat template."""

    def __init__(self, image: int) -> None:
        self.image = image
        self.chat = Chat(load_tokenizer(SPEC.llm))
        self.pixels = image_processor()

    def expanded(self, ids: list[int]) -> list[int]:
        """With as many image tokens as an image becomes."""
        return [
            token
            for one in ids
            for token in ([self.image] * SIDE**2 if one == IMAGE_TOKEN_ID else [one])
        ]

    def see(self, image: Image.Image) -> Tensor:
        """(1,3,S,S)."""
        found: Tensor = self.pixels(image.convert("RGB"), return_tensors="pt")["pixel_values"]
        return found


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """Drawn conversations, each opened, tokenised and resized when it is asked for."""

    def __init__(self, folder: Path, processor: Processor) -> None:
        lines = (folder / "conversations.jsonl").read_text(encoding="utf-8").splitlines()
        self.rows = [conversation(json.loads(line), folder) for line in lines]
        self.folder, self.processor = folder, processor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        ids, learn = self.processor.chat.encode([row.messages])[0]
        labels = self.processor.expanded(
            [
                int(token) if learnt or token == IMAGE_TOKEN_ID else IGNORE_INDEX
                for token, learnt in zip(ids, learn, strict=True)
            ]
        )
        labels = [IGNORE_INDEX if one == self.processor.image else one for one in labels]
        return {
            "input_ids": torch.tensor(self.processor.expanded(ids.tolist())),
            "labels": torch.tensor(labels),
            "pixel_values": [self.processor.see(Image.open(self.folder / p)) for p in row.images],
        }


def collated(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """A batch, padded on the right."""
    pad = torch.nn.utils.rnn.pad_sequence
    ids = [sample["input_ids"] for sample in samples]
    pixels = [image for sample in samples for image in sample["pixel_values"]]
    return {
        "input_ids": pad(ids, batch_first=True),
        "attention_mask": pad([torch.ones_like(one) for one in ids], batch_first=True),
        "labels": pad([s["labels"] for s in samples], batch_first=True, padding_value=IGNORE_INDEX),
        **({"pixel_values": torch.cat(pixels)} if pixels else {}),
    }


def drawn(home: Path, images: int) -> tuple[dict[str, Any], Path]:
    """Conversations on so many drawn images: as a study names them, and the folder they lie in."""
    source = {"world": "conversations", "images": images, "seed": 1}
    return source, prepare(source, home / "data")


def scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="ablate-benchmark-")
