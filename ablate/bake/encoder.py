"""Pre-trains a micro encoder on its task."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

import torch

from ablate.bake.tasks import Detection, Instances, Reading, RegionCaptions, Segmentation, Task
from ablate.catalog.encoders import resolve
from ablate.data.world.scenes import KINDS
from ablate.encoders.base import Encoder
from ablate.encoders.build import build_encoder


@dataclass(frozen=True)
class Course:
    """How one encoder is trained: its task, and why that one (kept in its card)."""

    task: Callable[[Encoder], Task]
    purpose: str


COURSES = {
    "clip-micro": Course(
        partial(RegionCaptions, names=("colour",), kinds=KINDS, placed=True),
        "Cells against captions that name place, colour and kind of content, no more.",
    ),
    "convnext-micro": Course(
        partial(
            RegionCaptions,
            names=("colour", "pattern"),
            kinds=("objects", "objects", "chart"),
            placed=False,
        ),
        "Cells against captions that name colour, pattern and kind, at four times the base's side.",
    ),
    "eva02-micro": Course(Detection, "A heat map of the centres of marks, digits and things."),
    "pix2struct-micro": Course(Reading, "The characters of each cell, by hand and in print."),
    "sam-micro": Course(Segmentation, "The part of a thing or bar each 4 x 4 pixels belong to."),
    "dinov2-micro": Course(
        Instances, "Two drawings of one outline must find each other; no labels are used."
    ),
}
RATE = 2e-3


def train_encoder(
    name: str, seed: int, steps: int, log: Callable[[int, dict[str, float]], None]
) -> Encoder:
    """Pre-train the encoder called `name` for `steps` batches; deterministic in the seed."""
    encoder = build_encoder(resolve(name), load_weights=False).train()
    torch.manual_seed(seed)
    task, rng = COURSES[name].task(encoder), Random(seed)
    parameters = [*encoder.parameters(), *task.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.98), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    for step in range(steps):
        loss = task(encoder, rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        log(step + 1, {"loss": loss.item()})
    return encoder.eval()
