"""A mixture of vision encoders on a language model, as transformers has its models.

Shapes: B conversations, T tokens, I images, L visual tokens an image, D model width, V vocabulary.
"""

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.build import family_class
from ablate.model.export.configuration_ablate import AblateConfig
from ablate.model.mixture import Mixture
from fusion_zoo import LanguageShape
from fusion_zoo.connectors import CONNECTORS


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
        connector = CONNECTORS.load(options.pop("name"))
        self.projector = connector(fusion.segments, fusion.grids, text.hidden_size, **options)
        self.llm = AutoModelForCausalLM.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        embeddings: nn.Module = self.llm.get_input_embeddings()
        return embeddings

    def get_output_embeddings(self) -> nn.Module:
        embeddings: nn.Module = self.llm.get_output_embeddings()
        return embeddings

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """(I,3,H,W) uint8, or floats in [0,1] -> (I,L,D)."""
        tokens: Tensor = self.projector(self.mixture(pixel_values))
        return tokens

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **more: Any,
    ) -> Any:
        """(B,T) tokens and the pixels of their images -> the language model's output, its logits
        (B,T,V); `more` is for the language model. ValueError where the two do not match."""
        if inputs_embeds is None:
            assert input_ids is not None
            visual = input_ids == self.config.image_token_id
            inputs_embeds = self.get_input_embeddings()(input_ids.masked_fill(visual, 0))
            if visual.any():  # not so of tokens that are generated
                inputs_embeds = self._spliced(inputs_embeds, visual, pixel_values)
        return self.llm(inputs_embeds=inputs_embeds, **more)

    def _spliced(self, text: Tensor, visual: Tensor, pixel_values: Tensor | None) -> Tensor:
        images = 0 if pixel_values is None else len(pixel_values)
        if pixel_values is None or int(visual.sum()) != images * self.config.image_seq_length:
            raise ValueError(
                f"{int(visual.sum())} image tokens, but {images} images of "
                f"{self.config.image_seq_length} tokens each"
            )
        seen = self.get_image_features(pixel_values).to(text.dtype)
        return text.masked_scatter(visual[..., None], seen)


def store_buffers(mixture: nn.Module) -> None:
    """Have all buffers saved with the weights: transformers builds models without any content."""
    for module in mixture.modules():
        module._non_persistent_buffers_set.clear()
