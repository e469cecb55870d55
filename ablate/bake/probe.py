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
DECAY = 1e-3


def probe(encoder: Encoder) -> dict[str, float]:
    """Attribute -> share of held-out cells (and handwritten digits) a linear probe gets right.

    The probe is softmax regression on standardised features of the frozen encoder.
    """
    seen = draw_pages(KINDS, PAGES, Random("probe"), crowded=0.5)
    unseen = draw_pages(KINDS, PAGES // 2, Random("probed"), crowded=0.5, held_out=True)
    features, others = _features(encoder, seen), _features(encoder, unseen)
    mean, scale = features.mean(0), features.std(0) + 1e-4
    features, others = ((x - mean) / scale for x in (features, others))
    scores = {}
    for attribute, values in ATTRIBUTES.items():
        known, truth = seen.labels(attribute).flatten(), unseen.labels(attribute).flatten()
        weights = _fit(features[known >= 0], known[known >= 0], len(values))
        hit = (_with_one(others[truth >= 0]) @ weights).argmax(1) == truth[truth >= 0]
        scores[attribute] = round(hit.float().mean().item(), 3)
    return scores


def _fit(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Weights (C+1,K) of a softmax regression with a little weight decay."""
    x = _with_one(features)
    weights = torch.zeros(x.shape[1], classes, dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=40, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weights, labels) + DECAY * weights.square().sum()
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach()


def _features(encoder: Encoder, pages: Pages) -> Tensor:
    with torch.no_grad():
        parts = [cells(encoder, pixels) for pixels in torch.split(pages.pixels, 64)]
    return torch.cat(parts).flatten(0, 1)


def _with_one(features: Tensor) -> Tensor:
    return torch.cat([features, torch.ones(len(features), 1, dtype=features.dtype)], 1)
