"""A model as transformers' own Idefics3: SigLIP, pixel shuffle, one layer, a language model.

Its processor puts words around an image, which `tiling: idefics3` has as marks: here they are rows
of the language model's embedding.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    Idefics3VisionConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.models.idefics3.modeling_idefics3 import Idefics3VisionEmbeddings

from ablate.catalog.axes import CONNECTOR
from ablate.encoders.base import resample_positions
from ablate.encoders.siglip import SiglipEncoder
from ablate.model.export.native import EMBEDDED, NativeFormat

FAMILY = SiglipEncoder.family
TOWER = "siglip_vision_model"
SHUFFLE: Mapping[str, Any] = {"name": "pixel_shuffle", "style": "idefics3"}
TILING = "idefics3"
WORDS = ["<fake_token_around_image>", "<global-img>"]
"""What the processor writes for the marks of the tiling."""
MARKS = "projector.marks"
POSITIONS = "mixture.encoders.0.model.embeddings.position_embedding.weight"
BICUBIC = 3
SAME = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_channels",
    "patch_size",
    "hidden_act",
    "layer_norm_eps",
)
"""What the configuration of its tower has of SigLIP's."""


class Idefics3(NativeFormat):
    """`Idefics3ForConditionalGeneration`; images are not split."""

    word = "idefics3"
    title = "Idefics3"
    model_class = Idefics3ForConditionalGeneration
    names: ClassVar[Mapping[str, str]] = {
        "mixture.encoders.0.model.": "model.vision_model.",
        "projector.layers.0.layers.0.": "model.connector.modality_projection.proj.",
        "llm.model.": "model.text_model.",
        "llm.lm_head.": "lm_head.",
    }

    def differences(self) -> Iterator[str]:
        spec, encoder = self.spec, self.encoder
        size, side = spec.connector.get("size", 1), encoder.grid[0]
        yield from super().differences()
        if encoder.family != FAMILY and encoder.architecture.get("model_type") != TOWER:
            yield (
                f"encoder '{encoder.title}' is none of the family '{FAMILY}', nor an hf:PATH of "
                f"model_type '{TOWER}'"
            )
        elif encoder.family != FAMILY and self.tower.config.image_size != encoder.resolution:
            yield f"encoder '{encoder.title}' interpolates its positions"
        if spec.connector != {**spec.connector, **SHUFFLE}:
            ours, theirs = CONNECTOR.label(spec.connector), CONNECTOR.label(SHUFFLE)
            yield f"its connector is {ours}, not {theirs}"
        if side % size:
            yield f"the {side} rows of encoder '{encoder.title}' are no {size}s"
        elif not _keeps_order(side):
            yield f"of {side} rows of encoder '{encoder.title}' its rounding mixes up positions"
        if spec.tiling["name"] != TILING:
            yield f"its tiling is {spec.tiling['name']}, not {TILING}, which has its words"
        elif spec.tiling["tile"] not in (0, encoder.resolution):
            yield f"its views have {spec.tiling['tile']} pixels, not {encoder.resolution}"

    def config(self, text: PreTrainedConfig, image: int) -> Idefics3Config:
        text.tie_word_embeddings = False  # the words are read, and never said
        return Idefics3Config(
            vision_config=self._vision(),
            text_config=text,
            image_token_id=image,
            scale_factor=self.spec.connector["size"],
            tie_word_embeddings=False,
        )

    def tensors(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> dict[str, Tensor]:
        tensors = super().tensors(tokenizer, vocabulary)
        embedded = tensors[EMBEDDED].clone()
        embedded[tokenizer.convert_tokens_to_ids(WORDS)] = tensors.pop(MARKS)
        grid = self.encoder.grid
        positions = resample_positions(tensors[POSITIONS], grid, antialias=False)
        return {**tensors, EMBEDDED: embedded, POSITIONS: positions}

    def processor(self) -> Idefics3Processor:
        tokenizer = copy.deepcopy(self.speech.tokenizer)
        tokenizer.add_tokens(WORDS, special_tokens=True)
        side = self.encoder.resolution
        looks = Idefics3ImageProcessor(
            do_resize=False,
            do_image_splitting=False,
            max_image_size={"longest_edge": side},
            resample=BICUBIC,
            image_mean=list(self.encoder.mean),
            image_std=list(self.encoder.std),
        )
        return Idefics3Processor(
            looks,
            tokenizer,
            image_seq_len=self.model.projector.num_tokens,
            chat_template=self.speech.tokenizer.chat_template,
        )

    def _vision(self) -> Idefics3VisionConfig:
        same = {name: getattr(self.tower.config, name) for name in SAME}
        return Idefics3VisionConfig(**same, image_size=self.encoder.resolution)


def _keeps_order(side: int) -> bool:
    """Whether the class gives each of side * side patches its own position: it rounds shares of 1
    to numbers of rows, and not always well."""
    config = Idefics3VisionConfig(hidden_size=1, image_size=side, patch_size=1)
    embeddings, numbers = Idefics3VisionEmbeddings(config), torch.arange(side**2).float()
    with torch.no_grad():
        for weights in embeddings.parameters():
            weights.zero_()
        embeddings.position_embedding.weight[:, 0] = numbers
        whole = torch.ones(1, side, side, dtype=torch.bool)
        placed = embeddings(torch.zeros(1, 3, side, side), whole)
    return torch.equal(placed[0, :, 0], numbers)
