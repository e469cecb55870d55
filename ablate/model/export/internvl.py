"""A model as transformers' own InternVL: InternViT, pixel shuffle, a language model; in tiles.

Its processor puts a word before and one behind an image: here both are empty.
"""

from collections.abc import Iterator, Mapping
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from torch import nn
from transformers import (
    AutoTokenizer,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    PreTrainedConfig,
)

from ablate.catalog.axes import CONNECTOR, TILING
from ablate.data.conversations import IMAGE
from ablate.encoders.internvit import InternVitEncoder
from ablate.model.export.native import NAMES, PROJECTOR, NativeFormat

FAMILY = InternVitEncoder.family
TOWER = "internvl_vision"
TILES = "internvl"
SHUFFLE: Mapping[str, Any] = {"name": "pixel_shuffle", "size": 2, "style": "internvl"}
TOKENS = {
    "start_image_token": "",
    "end_image_token": "",
    "context_image_token": IMAGE,
    "video_token": "<video>",
}
BILINEAR, BICUBIC = 2, 3


class InternVl(NativeFormat):
    """`InternVLForConditionalGeneration`."""

    word = "internvl"
    title = "InternVL"
    model_class = InternVLForConditionalGeneration
    names: ClassVar[Mapping[str, str]] = {
        **NAMES,
        "projector.layers.0.layers.0.": f"{PROJECTOR}.layer_norm.",
        "projector.layers.0.layers.1.": f"{PROJECTOR}.linear_1.",
        "projector.layers.0.layers.3.": f"{PROJECTOR}.linear_2.",
    }

    def differences(self) -> Iterator[str]:
        spec, encoder, tiling = self.spec, self.encoder, self.spec.tiling
        yield from super().differences()
        if encoder.family != FAMILY and encoder.architecture.get("model_type") != TOWER:
            yield (
                f"encoder '{encoder.title}' is none of the family '{FAMILY}', nor an hf:PATH of "
                f"model_type '{TOWER}'"
            )
        elif encoder.family == FAMILY and not isinstance(self.tower.layernorm, nn.Identity):
            yield f"encoder '{encoder.title}' has a closing norm that is left out"
        if spec.connector != {**spec.connector, **SHUFFLE}:
            ours, theirs = CONNECTOR.label(spec.connector), CONNECTOR.label(SHUFFLE)
            yield f"its connector is {ours}, not {theirs}"
        if encoder.grid[0] % 2:
            yield f"the {encoder.grid[0]} rows of encoder '{encoder.title}' are no pairs"
        if tiling["name"] not in (TILING.default["name"], TILES):
            yield f"its images are cut by the tiling {tiling['name']}, not {TILES}"
        elif tiling["name"] == TILES and tiling["tile"] not in (0, encoder.resolution):
            yield f"its tiles have {tiling['tile']} pixels, not the encoder's {encoder.resolution}"
        elif tiling["name"] == TILES and not tiling["thumbnail"] and tiling["max_tiles"] > 1:
            yield "its tiles come without thumbnail"
        if self.speech.canvas:
            yield f"its images are padded to a square; with tiling: {TILES} they are not"

    def config(self, text: PreTrainedConfig, image: int) -> InternVLConfig:
        return InternVLConfig(
            vision_config=self.tower.config,
            text_config=text,
            image_token_id=image,
            image_seq_length=self.model.projector.num_tokens,
            downsample_ratio=1 / SHUFFLE["size"],
            tie_word_embeddings=text.tie_word_embeddings,
        )

    def processor(self) -> InternVLProcessor:
        with TemporaryDirectory() as folder:
            self.speech.tokenizer.save_pretrained(folder)
            tokenizer = AutoTokenizer.from_pretrained(folder, extra_special_tokens=TOKENS)
        return InternVLProcessor(
            self._image_processor(),
            tokenizer,
            InternVLVideoProcessor(),
            image_seq_length=self.model.projector.num_tokens,
            chat_template=self.speech.tokenizer.chat_template,
        )

    def _image_processor(self) -> GotOcr2ImageProcessor:
        """Tiles and the whole, bicubic; without tiling the whole as one tile, bilinearly."""
        tiling, side = self.spec.tiling, self.encoder.resolution
        cuts = tiling["name"] == TILES
        return GotOcr2ImageProcessor(
            crop_to_patches=True,
            min_patches=tiling["min_tiles"] if cuts else 1,
            max_patches=tiling["max_tiles"] if cuts else 1,
            resample=BICUBIC if cuts else BILINEAR,
            size={"height": side, "width": side},
            image_mean=list(self.encoder.mean),
            image_std=list(self.encoder.std),
        )
