"""`EncoderSpec` and `Weights` under the name that packages of others import them by."""

from ablate.catalog.encoder_spec import EncoderSpec, Weights

__all__ = ["EncoderSpec", "Weights"]
