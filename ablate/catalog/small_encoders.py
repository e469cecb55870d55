"""The small scale's encoder without weights: a network of timm's that learns from the beginning."""

import dataclasses

from ablate.catalog import timm_encoders
from ablate.catalog.encoder_spec import Weights

SPECS = [
    dataclasses.replace(
        timm_encoders.resolve("timm:test_vit@128"),
        name="vit-untrained",
        weights=Weights("none"),
        task="none",
    )
]
