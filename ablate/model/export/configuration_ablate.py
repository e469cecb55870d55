"""The configuration of a mixture of vision encoders on a language model, as transformers has it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig


class AblateConfig(PreTrainedConfig):  # type: ignore[misc]  # for mypy it is Any
    """What `AblateForConditionalGeneration` is.

    encoders: an `EncoderSpec` each as JSON values, the base first; fusion: {"name", "grid": [H, W],
    "options"}; connector, tiling, injection: {"name", and its options}; feature_norm: "none", or
    "layer" for a LayerNorm without weights on every expert's features; text_config: the language
    model's; image_token_id: stands in a prompt for each visual token; image_seq_length: those of an
    image, at most.
    """

    model_type = "ablate"
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": AutoConfig}

    def __init__(
        self,
        encoders: Sequence[Mapping[str, Any]] = (),
        fusion: Mapping[str, Any] | None = None,
        connector: Mapping[str, Any] | None = None,
        tiling: Mapping[str, Any] | None = None,
        injection: Mapping[str, Any] | None = None,
        feature_norm: str = "none",
        text_config: Mapping[str, Any] | PreTrainedConfig | None = None,
        image_token_id: int = 0,
        image_seq_length: int = 0,
        **more: Any,
    ) -> None:
        self.encoders = [dict(encoder) for encoder in encoders]
        self.fusion = dict(fusion or {})
        self.connector = dict(connector or {})
        self.tiling = dict(tiling or {"name": "none"})
        self.injection = dict(injection or {"name": "prefix"})
        self.feature_norm = feature_norm
        if isinstance(text_config, Mapping):
            text_config = AutoConfig.for_model(**text_config)
        self.text_config = text_config
        self.image_token_id = image_token_id
        self.image_seq_length = image_seq_length
        tied = getattr(text_config, "tie_word_embeddings", False)
        super().__init__(**{"tie_word_embeddings": tied, **more})
