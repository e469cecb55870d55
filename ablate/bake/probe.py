"""What an encoder's features tell of each attribute: a linear probe a cell, on held-out pages."""

from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

from ablate.bake.pages import ATTRIBUTES, Pages, draw_pages
from ablate.bake.tasks import cells
from ablate.data.world.scenes import KINDS
from ablate.encoders.base import Encoder

PAGES = 640  # to fit the probe on; half as many to score it
RIDGE = 1e-3


def probe(encoder: Encoder) -> dict[str, float]:
    """Attribute -> share of held-out cells (and handwritten digits) a linear probe gets right.

    The probe is ridge regression to one-hot values on standardised features of frozen weights.
    """
    seen = draw_pages(KINDS, PAGES, Random("probe"), crowded=0.5)
    unseen = draw_pages(KINDS, PAGES // 2, Random("probed"), crowded=0.5, held_out=True)
    features, others = _features(encoder, seen), _features(encoder, unseen)
    mean, scale = features.mean(0), features.std(0) + 1e-4
    features, others = ((x - mean) / scale for x in (features, others))
    scores = {}
    for attribute, values in ATTRIBUTES.items():
        known, truth = seen.labels(attribute).flatten(), unseen.labels(attribute).flatten()
        x = _with_one(features[known >= 0])
        y = F.one_hot(known[known >= 0], len(values)).double()
        weights = torch.linalg.solve(
            x.T @ x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y
        )
        hit = (_with_one(others[truth >= 0]) @ weights).argmax(1) == truth[truth >= 0]
        scores[attribute] = round(hit.double().mean().item(), 3)
    return scores


def _features(encoder: Encoder, pages: Pages) -> Tensor:
    with torch.no_grad():
        parts = [cells(encoder, pixels) for pixels in torch.split(pages.pixels, 64)]
    return torch.cat(parts).flatten(0, 1).double()


def _with_one(features: Tensor) -> Tensor:
    return torch.cat([features, torch.ones(len(features), 1, dtype=features.dtype)], 1)
