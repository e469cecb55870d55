"""A model as transformers' own LLaVA, which other servers know, too: no code goes with it.

Shapes: V vocabulary, D model width.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessorPil,
    LlavaProcessor,
    PreTrainedConfig,
)

from ablate.catalog.axes import INJECTION, TILING
from ablate.data.conversations import IMAGE
from ablate.encoders.clip_llava import ClipLlavaEncoder
from ablate.errors import UserError
from ablate.files import write_atomic
from ablate.model.export import SHARD, Speech, generation_config, require_exportable
from ablate.model.mllm import Mllm

FAMILY = ClipLlavaEncoder.family
PROJECTOR = "model.multi_modal_projector"
NAMES = {
    "mixture.encoders.0.model.": "model.vision_tower.",
    "projector.layers.0.0.": f"{PROJECTOR}.linear_1.",
    "projector.layers.0.2.": f"{PROJECTOR}.linear_2.",
    "llm.model.": "model.language_model.",
    "llm.lm_head.": "lm_head.",
}
"""How the names of our tensors begin, and those of the same in transformers' LLaVA."""


def export_llava(model: Mllm, speech: Speech, folder: Path, card: str) -> None:
    """Write `model` into `folder` as a `LlavaForConditionalGeneration` with its processor.

    UserError names the first thing in which it is none.
    """
    require_exportable(model)
    require_llava(model, speech)
    image = int(speech.tokenizer.convert_tokens_to_ids(IMAGE))
    config = _config(model, image)
    with torch.device("meta"):
        whole = LlavaForConditionalGeneration(config)
    whole.load_state_dict(_tensors(model, config), assign=True)
    whole.tie_weights()
    whole.generation_config = generation_config(model, speech)
    whole.save_pretrained(folder, max_shard_size=SHARD)
    [spec] = model.spec.encoders
    processor = LlavaProcessor(
        _image_processor(model, speech),
        speech.tokenizer,
        patch_size=spec.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=speech.tokenizer.chat_template,
    )
    processor.save_pretrained(folder)
    write_atomic(folder / "README.md", card)


def require_llava(model: Mllm, speech: Speech) -> None:
    """UserError names the first thing in which the model is no LLaVA."""
    for why in _differences(model, speech):
        raise UserError(f"{why}: it is no LLaVA as transformers has it; leave out --as llava")


def _differences(model: Mllm, speech: Speech) -> Iterator[str]:
    """In what the model is no LLaVA."""
    spec = model.spec
    encoder, *others = spec.encoders
    if others:
        yield f"it has {len(spec.encoders)} encoders"
    if encoder.family != FAMILY:
        yield (
            f"encoder '{encoder.title}' is of the family '{encoder.family}', not '{FAMILY}', whose "
            "class token takes part"
        )
    if encoder.resolution != encoder.architecture["image_size"] or encoder.tile:
        yield f"encoder '{encoder.title}' interpolates its positions"
    if spec.fusion["name"] != "channel_concat" or tuple(spec.fusion["grid"]) != encoder.grid:
        yield f"fusion {spec.fusion['name']} resizes the encoder's map or does more to it"
    if spec.connector != {"name": "mlp", "depth": 2}:
        yield f"its connector is {spec.connector['name']}, not two layers with GELU between them"
    if spec.tiling != TILING.default:
        yield f"its images are cut by the tiling {spec.tiling['name']}"
    if spec.injection != INJECTION.default:
        yield f"its injection is {spec.injection['name']}, not prefix"
    if spec.feature_norm != "none":
        yield "feature_norm is not 'none'"
    if speech.canvas not in (None, encoder.resolution):
        yield f"its images have a canvas of {speech.canvas} pixels, not the encoder's own"
    if speech.canvas and speech.padding != _background(encoder.mean):
        yield f"its images are padded with {speech.padding}"
    if speech.outputs:
        names = ", ".join(output["annotator"] for output in speech.outputs)
        yield f"its prompts show what {names} says of an image"
    if not all(name.startswith(tuple(NAMES)) for name in model.state_dict()):
        yield f"the language model {spec.llm.name} is not laid out as Llama is"


def _config(model: Mllm, image: int) -> LlavaConfig:
    """`image`: the token of an image; the vocabulary has room for it."""
    text = type(model.llm.config).from_dict(model.llm.config.to_dict())
    text.vocab_size = max(text.vocab_size, image + 1)
    [encoder] = model.mixture.all_encoders
    assert isinstance(encoder, ClipLlavaEncoder)
    vision: PreTrainedConfig = encoder.model.config
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image,
        image_seq_length=model.num_visual_tokens,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=text.tie_word_embeddings,
    )


def _tensors(model: Mllm, config: LlavaConfig) -> dict[str, Tensor]:
    """The model's tensors by the names of LLaVA's; the norm that it does not use is there, too."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        ours = next(begin for begin in NAMES if name.startswith(begin))
        if name in ("llm.model.embed_tokens.weight", "llm.lm_head.weight"):
            tensor = _with_room(tensor, config.text_config.vocab_size)
        tensors[NAMES[ours] + name.removeprefix(ours)] = tensor
    width = config.vision_config.hidden_size
    norm = "model.vision_tower.post_layernorm"
    return {**tensors, f"{norm}.weight": torch.ones(width), f"{norm}.bias": torch.zeros(width)}


def _with_room(rows: Tensor, vocabulary: int) -> Tensor:
    """(V,D) with more rows for tokens that are never said: each is the first row again, so that
    greedy decoding, which takes the first of equals, never comes to them."""
    return torch.cat([rows, rows[:1].expand(vocabulary - len(rows), -1)])


def _image_processor(model: Mllm, speech: Speech) -> LlavaImageProcessorPil:
    """Images padded to a square and resized as for a canvas; without one resized, bilinearly."""
    [spec] = model.spec.encoders
    side = spec.resolution
    how: dict[str, Any] = {"do_pad": True, "resample": 3, "size": {"shortest_edge": side}}
    if speech.canvas is None:
        how = {"do_pad": False, "resample": 2, "size": {"height": side, "width": side}}
    return LlavaImageProcessorPil(
        **how,
        crop_size={"height": side, "width": side},
        image_mean=list(spec.mean),
        image_std=list(spec.std),
    )


def _background(mean: tuple[float, float, float]) -> tuple[int, int, int]:
    """What LLaVA's processor pads with."""
    red, green, blue = (int(255 * value) for value in mean)
    return red, green, blue
