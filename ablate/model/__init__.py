"""The multimodal model: mixture of encoders, fusion, projector, language model."""
