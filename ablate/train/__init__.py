"""The training steps: pre-alignment, pre-training of the projector, fine-tuning."""
