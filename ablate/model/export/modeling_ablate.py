"""A mixture of vision encoders on a language model, as transformers has its models.

Shapes: B conversations, T tokens, I images, V views of all of them (one each, unless a tiling cuts
them), L visual tokens of an image, D model width, K words of the vocabulary.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.data.batch import IGNORE_INDEX
from ablate.data.tiles import Tiles
from ablate.decoder import build_injection
from ablate.encoders.build import family_class
from ablate.model.export.configuration_ablate import AblateConfig
from ablate.model.injection import Injector, seen_images
from ablate.model.mixture import Mixture
from ablate.model.splice import SpliceLayout
from fusion_zoo import LanguageShape
from fusion_zoo.connectors import CONNECTORS
from fusion_zoo.tilings import assemble, hold_marks, tiling_of

IMAGES = {"pixel_values", "image_starts", "image_sizes"}
"""What a model is given of images, in the order of the prompts that show them."""


class AblateForConditionalGeneration(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Every `image_token_id` of a prompt is replaced by one visual token, in their order."""

    config_class = AblateConfig
    base_model_prefix = "llm"
    _supports_sdpa = True
    _supports_flash_attn = True
    _keep_in_fp32_modules_strict: ClassVar[set[str]] = {"mean", "std"}  # of an encoder's pixels

    def __init__(self, config: AblateConfig) -> None:
        super().__init__(config)
        specs = [EncoderSpec.from_json(encoder) for encoder in config.encoders]
        height, width = config.fusion["grid"]
        text = config.get_text_config(decoder=True)
        self.mixture = Mixture(
            [family_class(spec.family)(spec) for spec in specs],
            config.fusion["name"],
            (height, width),
            config.fusion["options"],
            config.feature_norm,
            LanguageShape(text.hidden_size, text.num_hidden_layers),
        )
        store_buffers(self.mixture)
        fusion, options = self.mixture.fusion, dict(config.connector)
        tiling = tiling_of(config.tiling, specs[0].resolution)
        segments = tiling.segments(fusion.segments, fusion.grids)
        self.projector = CONNECTORS.build(
            options.pop("name"), segments, fusion.grids, text.hidden_size, **options
        )
        hold_marks(self.projector, tiling, text.hidden_size)
        self.llm = AutoModelForCausalLM.from_config(config.text_config)
        tokens, grid = self.projector.num_tokens, self.projector.grid
        most, cut = tiling.most_tokens(tokens, grid), config.tiling["name"] != "none"
        self.injection = build_injection(config.injection, self.llm, text.model_type, most, cut=cut)
        self._tiles = Tiles(tiling, tokens, grid, self.injection.runs)
        self._injector = Injector(self.injection, self.llm)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        embeddings: nn.Module = self.llm.get_input_embeddings()
        return embeddings

    def get_output_embeddings(self) -> nn.Module:
        embeddings: nn.Module = self.llm.get_output_embeddings()
        return embeddings

    def get_image_features(
        self, pixel_values: Tensor, image_sizes: Tensor | None = None
    ) -> Sequence[Tensor]:
        """(V,3,H,W) uint8, or floats in [0,1], and if a tiling cuts them the images' widths and
        heights (I,2) -> (L,D) of each image."""
        tiles, made = self._tiles, self.mixture(pixel_values)
        if not tiles.cuts:
            return list(self.projector(made))
        if image_sizes is None:
            raise ValueError("the model cuts images: give their image_sizes, as the processor does")
        cut = tiles.cut(image_sizes)
        tokens = self.projector(tiles.tiling.units(made, self.mixture.fusion.grids))
        marks = getattr(self.projector, "marks", None)
        seen = assemble(tokens, marks, cut.units, cut.orders)
        return torch.split(seen, tiles.visual(len(image_sizes), image_sizes))

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_starts: Tensor | None = None,
        image_sizes: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **more: Any,
    ) -> Any:
        """(B,T) tokens, and as the processor gives them the pixels of their images, where each
        begins, and how large it was -> the language model's output, its logits (B,T,K).

        `more` is for the language model. ValueError where tokens and images do not match.
        """
        begins = past_key_values is None or not past_key_values.get_seq_length()
        if begins:
            self._injector.seen = None
        if inputs_embeds is None:
            assert input_ids is not None
            visual = input_ids == self.config.image_token_id
            inputs_embeds = self.get_input_embeddings()(input_ids.masked_fill(visual, 0))
            if begins or visual.any():  # else they are tokens that are generated
                if self._injector.acts and not begins:
                    raise ValueError("images come with the prompt's begin: read it without a cache")
                images: Sequence[Tensor] = []
                if pixel_values is None or image_starts is None:
                    image_starts = input_ids.new_zeros(0, 2)
                else:
                    images = self.get_image_features(pixel_values, image_sizes)
                layout = _layout(visual, attention_mask, image_starts)
                learnt = torch.full_like(input_ids, IGNORE_INDEX) if labels is None else labels
                shown = self._in_context(images, image_starts, layout, learnt)
                inputs_embeds = layout.embeddings(inputs_embeds[layout.text], shown)
        return self.llm(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            labels=labels,
            **more,
        )

    def _in_context(
        self, images: Sequence[Tensor], starts: Tensor, layout: SpliceLayout, labels: Tensor
    ) -> Tensor:
        """Of all images' tokens those that stand in the context, end to end; what the injection
        sees of them is held for the language model's blocks."""
        first = [self._tiles.in_context(len(tokens)) for tokens in images]
        if len(images) != len(starts) or sum(first) != len(layout.visual_places):
            raise ValueError(
                f"{len(images)} images of {sum(first)} tokens, but the prompts have "
                f"{len(layout.visual_places)} for {len(starts)}"
            )
        if self._injector.acts:
            media = [tokens[n:] for tokens, n in zip(images, first, strict=True)]
            self._injector.seen = seen_images(media, starts[:, 0], layout, labels)
        none = torch.zeros(0, self.projector.width, device=labels.device)
        return torch.cat([none, *(tokens[:n] for tokens, n in zip(images, first, strict=True))])

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: Tensor | None = None,
        **given: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Several answers to each prompt: its images once for each of them, in their order."""
        starts = given.get("image_starts")
        apart = {} if starts is None else {name: given.pop(name) for name in IMAGES & given.keys()}
        ids, given = super()._expand_inputs_for_generation(
            expand_size, is_encoder_decoder, input_ids, **given
        )
        if starts is not None:
            given |= self._repeated(expand_size, **apart)
        return ids, given

    def _repeated(
        self,
        times: int,
        pixel_values: Tensor,
        image_starts: Tensor,
        image_sizes: Tensor | None = None,
    ) -> dict[str, Any]:
        """The images of prompts that stand so many times, one below the other."""
        rows = enumerate(image_starts[:, 0].tolist())
        placed = sorted((row * times + turn, image) for image, row in rows for turn in range(times))
        which = [image for _, image in placed]
        starts = image_starts[which]
        starts[:, 0] = starts.new_tensor([row for row, _ in placed])
        views, sizes = [1] * len(image_starts), {}
        if image_sizes is not None:
            views, sizes = self._tiles.cut(image_sizes).views, {"image_sizes": image_sizes[which]}
        pixels = torch.split(pixel_values, views)
        every = torch.cat([pixels[image] for image in which])
        return {"pixel_values": every, "image_starts": starts, **sizes}


def _layout(visual: Tensor, attention_mask: Tensor | None, starts: Tensor) -> SpliceLayout:
    """Where everything is in prompts of which `visual` (B,T) bool is an image's, and whose images
    begin at these rows and columns (I,2)."""
    mask = torch.ones_like(visual)
    if attention_mask is not None and attention_mask.ndim == 2:  # else padding is seen to elsewhere
        mask = attention_mask[:, -visual.shape[1] :].bool()
    text, visual = mask & ~visual, mask & visual
    text_places, visual_places = (x.flatten().nonzero()[:, 0] for x in (text, visual))
    return SpliceLayout(text, text_places, visual_places, mask, starts[:, 1], mask.sum(1))


def store_buffers(mixture: nn.Module) -> None:
    """Have all buffers saved with the weights: transformers builds models without any content."""
    for module in mixture.modules():
        module._non_persistent_buffers_set.clear()
