"""What a model is, as data. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablate.catalog.axes import AXES, CONNECTOR, INJECTION, TILING
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.catalog.llms import LlmSpec
from ablate.errors import UserError, nearest

FEATURE_NORMS = ("none", "layer")


@dataclass(frozen=True)
class ModelSpec:
    """A mixture (the base first), how it is fused, and the language model it is given to.

    fusion: {"name": a fusion of `fusion_zoo`, "grid": [H, W] of its tokens, "options": {...}};
    feature_norm: "none", or "layer" for a LayerNorm without weights on every expert's features;
    connector, tiling, injection: the choice on an axis, see `ablate.catalog.axes`.
    """

    encoders: list[EncoderSpec]
    fusion: dict[str, Any]
    feature_norm: str
    llm: LlmSpec
    connector: dict[str, Any] = field(default_factory=lambda: dict(CONNECTOR.default))
    tiling: dict[str, Any] = field(default_factory=lambda: dict(TILING.default))
    injection: dict[str, Any] = field(default_factory=lambda: dict(INJECTION.default))

    def __post_init__(self) -> None:
        titles = [encoder.title for encoder in self.encoders]
        if not titles:
            raise UserError("a mixture needs at least one encoder")
        for title in titles:
            if titles.count(title) > 1:
                raise UserError(f"encoder '{title}' is in the mixture twice")
        for key in sorted(self.fusion.keys() ^ {"name", "grid", "options"}):
            state = "unknown" if key in self.fusion else "missing"
            raise UserError(f"fusion: {state} field '{key}'")
        if self.feature_norm not in FEATURE_NORMS:
            close = nearest(self.feature_norm, FEATURE_NORMS)
            raise UserError(f"unknown feature_norm '{self.feature_norm}'{close}")

    def to_json(self) -> dict[str, Any]:
        """Everything that decides the untrained model, but the seed, as JSON values."""
        fusion = {**self.fusion, "grid": list(self.fusion["grid"])}
        choices = {name: getattr(self, name) for name in AXES}
        return {
            "encoders": [encoder.to_json() for encoder in self.encoders],
            "fusion": fusion,
            "feature_norm": self.feature_norm,
            "llm": self.llm.to_json(),
            **{name: choice for name, choice in choices.items() if choice != AXES[name].default},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ModelSpec":
        """The inverse of `to_json`."""
        return cls(
            encoders=[EncoderSpec.from_json(encoder) for encoder in values["encoders"]],
            fusion=dict(values["fusion"]),
            feature_norm=values["feature_norm"],
            llm=LlmSpec.from_json(values["llm"]),
            **{name: dict(values[name]) for name in AXES if name in values},
        )
