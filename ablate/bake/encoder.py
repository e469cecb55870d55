"""Pre-trains a micro encoder on its task."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

import torch

from ablate.bake.tasks import Detection, Instances, Reading, RegionCaptions, Segmentation, Task
from ablate.data.world.scenes import KINDS
from ablate.encoders.base import Encoder
from ablate.encoders.build import build_encoder
from ablate.encoders.registry import resolve


@dataclass(frozen=True)
class Course:
    """How one encoder is trained: its task, and AdamW's peak learning rate."""

    task: Callable[[Encoder], Task]
    steps: int
    rate: float = 2e-3


COURSES = {
    "clip-micro": Course(partial(RegionCaptions, names=("colour",), kinds=KINDS), 900),
    "convnext-micro": Course(
        partial(RegionCaptions, names=("colour", "pattern"), kinds=("objects", "objects", "chart")),
        1500,
    ),
    "eva02-micro": Course(Detection, 1500),
    "pix2struct-micro": Course(Reading, 2000),
    "sam-micro": Course(Segmentation, 1500),
    "dinov2-micro": Course(Instances, 2000),
}


def train_encoder(
    name: str, seed: int, steps: int, log: Callable[[int, dict[str, float]], None]
) -> Encoder:
    """Pre-train the encoder called `name` for `steps` batches; deterministic in the seed."""
    course = COURSES[name]
    encoder = build_encoder(resolve(name), load_weights=False).train()
    torch.manual_seed(seed)
    task, rng = course.task(encoder), Random(seed)
    parameters = [*encoder.parameters(), *task.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=course.rate, betas=(0.9, 0.98), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, course.rate, steps, pct_start=0.1)
    for step in range(steps):
        loss = task(encoder, rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        log(step + 1, {"loss": loss.item()})
    return encoder.eval()
