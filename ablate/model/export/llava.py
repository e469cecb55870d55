"""A model as transformers' own LLaVA: CLIP, a projector of two layers, a language model."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessorPil,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from ablate.catalog.axes import CONNECTOR, TILING
from ablate.encoders.clip_llava import ClipLlavaEncoder
from ablate.model.export.native import NAMES, PROJECTOR, NativeFormat

FAMILY = ClipLlavaEncoder.family
NORM = "mixture.encoders.0.model.post_layernorm"


class Llava(NativeFormat):
    """`LlavaForConditionalGeneration`."""

    word = "llava"
    title = "LLaVA"
    model_class = LlavaForConditionalGeneration
    names: ClassVar[Mapping[str, str]] = {
        **NAMES,
        "projector.layers.0.0.": f"{PROJECTOR}.linear_1.",
        "projector.layers.0.2.": f"{PROJECTOR}.linear_2.",
    }

    def differences(self) -> Iterator[str]:
        spec, encoder, canvas = self.spec, self.encoder, self.speech.canvas
        yield from super().differences()
        if encoder.family != FAMILY:
            yield (
                f"encoder '{encoder.title}' is of the family '{encoder.family}', not '{FAMILY}', "
                "whose class token takes part"
            )
        if encoder.resolution != encoder.architecture["image_size"]:
            yield f"encoder '{encoder.title}' interpolates its positions"
        if spec.connector != {"name": "mlp", "depth": 2}:
            ours = CONNECTOR.label(spec.connector)
            yield f"its connector is {ours}, not two layers with GELU between them"
        if spec.tiling != TILING.default:
            yield f"its images are cut by the tiling {spec.tiling['name']}"
        if canvas not in (None, encoder.resolution):
            yield f"its images have a canvas of {canvas} pixels, not the encoder's own"
        if canvas and self.speech.padding != _background(encoder.mean):
            yield f"its images are padded with {self.speech.padding}"

    def config(self, text: PreTrainedConfig, image: int) -> LlavaConfig:
        return LlavaConfig(
            vision_config=self.tower.config,
            text_config=text,
            image_token_index=image,
            image_seq_length=self.model.num_visual_tokens,
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
            tie_word_embeddings=text.tie_word_embeddings,
        )

    def tensors(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> dict[str, Tensor]:
        # The norm that it does not use is there, too.
        tensors, width = super().tensors(tokenizer, vocabulary), self.encoder.width
        norm = {f"{NORM}.weight": torch.ones(width), f"{NORM}.bias": torch.zeros(width)}
        return {**tensors, **norm}

    def processor(self) -> LlavaProcessor:
        return LlavaProcessor(
            self._image_processor(),
            self.speech.tokenizer,
            patch_size=self.encoder.patch,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=self.speech.tokenizer.chat_template,
        )

    def _image_processor(self) -> LlavaImageProcessorPil:
        """Images padded to a square and resized as for a canvas; without one, bilinearly."""
        side = self.encoder.resolution
        how: dict[str, Any] = {"do_pad": True, "resample": 3, "size": {"shortest_edge": side}}
        if self.speech.canvas is None:
            how = {"do_pad": False, "resample": 2, "size": {"height": side, "width": side}}
        return LlavaImageProcessorPil(
            **how,
            crop_size={"height": side, "width": side},
            image_mean=list(self.encoder.mean),
            image_std=list(self.encoder.std),
        )


def _background(mean: tuple[float, float, float]) -> tuple[int, int, int]:
    """What LLaVA's processor pads with."""
    red, green, blue = (int(255 * value) for value in mean)
    return red, green, blue
