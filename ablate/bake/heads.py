"""Trains the heads of the micro scale's annotators on the maps of their frozen encoders.

Shapes: G = 16 cells of a page, C channels.
"""

from collections.abc import Callable, Mapping
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ablate.annotators._cells import CellAnnotator
from ablate.annotators.micro_detector import MicroDetector
from ablate.annotators.micro_ocr import MicroOcr
from ablate.bake.pages import Pages, cell_kind, draw_pages
from ablate.bake.tasks import cells
from ablate.catalog.encoders import resolve
from ablate.data.world.scenes import GRID, KINDS
from ablate.encoders.build import build_encoder

HEADS: Mapping[str, CellAnnotator] = {head.head: head for head in (MicroOcr(), MicroDetector())}
BATCH, RATE, HELD_OUT = 32, 1e-2, 320
"""Pages of a step, the highest learning rate, and pages on which heads are held to account."""


def train_heads(
    name: str, seed: int, steps: int, log: Callable[[int, dict[str, float]], None]
) -> nn.ModuleDict:
    """Train the heads for `steps` batches of pages of all kinds; deterministic in the seed."""
    annotator = HEADS[name]
    encoder = build_encoder(resolve(annotator.encoder)).eval()
    torch.manual_seed(seed)
    heads, rng = annotator.untrained_heads(), Random(seed)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    for step in range(steps):
        pages = draw_pages(KINDS, BATCH, rng, crowded=0.3)
        with torch.no_grad():
            features = cells(encoder, pages.pixels)
        losses = [
            F.cross_entropy(heads[attribute](features).flatten(0, 1), known, ignore_index=-1)
            for attribute, known in _labels(annotator, pages).items()
            if (known >= 0).any()
        ]
        loss = torch.stack(losses).sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        log(step + 1, {"loss": loss.item()})
    return heads.eval()


@torch.no_grad()
def right_cells(name: str, heads: nn.ModuleDict) -> dict[str, float]:
    """Attribute -> share of held-out cells, and handwritten digits, of which it is told right."""
    annotator = HEADS[name]
    pages = draw_pages(KINDS, HELD_OUT, Random("annotated"), crowded=0.0, held_out=True)
    features = cells(build_encoder(resolve(annotator.encoder)).eval(), pages.pixels)
    shares = {}
    for attribute, known in _labels(annotator, pages).items():
        hit = heads[attribute](features).flatten(0, 1).argmax(-1) == known
        shares[attribute] = round(hit[known >= 0].float().mean().item(), 3)
    return shares


def _labels(annotator: CellAnnotator, pages: Pages) -> dict[str, Tensor]:
    """By attribute the number of each cell's value, -1 where it has none, pages end to end."""
    labels = {
        attribute: pages.labels(attribute).flatten()
        for attribute in annotator.attributes
        if attribute != "kind"
    }
    kinds = annotator.attributes["kind"]
    every = [
        cell_kind(scene.cells.get((row, column), {}))
        for scene in pages.scenes
        for row in range(GRID)
        for column in range(GRID)
    ]
    known = [kinds.index(kind) if kind in kinds else 0 for kind in every]
    return {**labels, "kind": torch.tensor(known)}
