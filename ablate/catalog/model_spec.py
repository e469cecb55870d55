"""What a model is, as data. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablate.catalog.encoder_spec import EncoderSpec
from ablate.catalog.llms import LlmSpec
from ablate.errors import UserError, nearest

FEATURE_NORMS = ("none", "layer")


@dataclass(frozen=True)
class ModelSpec:
    """A mixture (the base first), how it is fused, and the language model it is given to.

    fusion: {"name": a fusion of `fusion_zoo`, "grid": [H, W] of its tokens, "options": {...}};
    feature_norm: "none", or "layer" for a LayerNorm without weights on every expert's features.
    """

    encoders: list[EncoderSpec]
    fusion: dict[str, Any]
    feature_norm: str
    llm: LlmSpec

    def __post_init__(self) -> None:
        titles = [encoder.title for encoder in self.encoders]
        if not titles:
            raise UserError("a mixture needs at least one encoder")
        for title in titles:
            if titles.count(title) > 1:
                raise UserError(f"encoder '{title}' is in the mixture twice")
        for field in sorted(self.fusion.keys() ^ {"name", "grid", "options"}):
            state = "unknown" if field in self.fusion else "missing"
            raise UserError(f"fusion: {state} field '{field}'")
        if self.feature_norm not in FEATURE_NORMS:
            close = nearest(self.feature_norm, FEATURE_NORMS)
            raise UserError(f"unknown feature_norm '{self.feature_norm}'{close}")

    def to_json(self) -> dict[str, Any]:
        """Everything that decides the untrained model, but the seed, as JSON values."""
        fusion = {**self.fusion, "grid": list(self.fusion["grid"])}
        return {
            "encoders": [encoder.to_json() for encoder in self.encoders],
            "fusion": fusion,
            "feature_norm": self.feature_norm,
            "llm": self.llm.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ModelSpec":
        """The inverse of `to_json`."""
        return cls(
            encoders=[EncoderSpec.from_json(encoder) for encoder in values["encoders"]],
            fusion=dict(values["fusion"]),
            feature_norm=values["feature_norm"],
            llm=LlmSpec.from_json(values["llm"]),
        )
