"""What `infra` may say of a tracker: `tensorboard`, or `{name: wandb, offline: true}`."""

from typing import Annotated, Any

from ablate.catalog.trackers import TRACKERS
from ablate.parsing.choice import WORD, one_of

TrackerConfig = Annotated[dict[str, Any], WORD, one_of(TRACKERS, "tensorboard")]
"""A tracker's name with its options."""
