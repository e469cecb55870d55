"""A package of another author as the README tells to write one: a fusion and an encoder family,
found by entry points; and ones with a mistake each."""

from pathlib import Path

from packages import install_package

FUSION = '''
"""Two maps added on one grid, a bias learnt.

B batch, N tokens, C channels.
"""

import torch
from fusion_zoo import FeatureMap, Fusion, Segment, resize_flops, resize_map
from torch import nn


class Added(Fusion):
    """H*W tokens of as many channels as the widest map has."""

    def __init__(self, shapes, grid, *, scale: float = 1.0):
        super().__init__(shapes, grid)
        self.scale = scale
        channels = max(shape.channels for shape in self.shapes)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.segments = (Segment(grid[0] * grid[1], channels),)

    def flops(self):
        return sum(resize_flops(shape, self.grid) for shape in self.shapes)

    def forward(self, maps, base=None):
        self._check(maps)
        total = self.bias
        for one in maps:
            tokens = FeatureMap(resize_map(one.tensor, self.grid, align_corners=False)).tokens()
            total = total + nn.functional.pad(tokens, (0, len(self.bias) - tokens.shape[-1]))
        return [self.scale * total]
'''

ENCODERS = '''
from ablate.encoders.base import Encoder
from ablate.catalog.encoder_spec import EncoderSpec, Weights
from torch import nn


class Patchy(Encoder):
    """One convolution."""

    def __init__(self, spec):
        super().__init__(spec)
        self.stem = nn.Conv2d(3, spec.width, spec.patch, spec.patch)

    def features(self, pixels):
        return self.stem(pixels)


HALF = (0.5, 0.5, 0.5)
SPECS = [EncoderSpec("patchy", "patchy", 32, 8, 24, HALF, HALF, {}, Weights("none"))]
'''

OVERRIDES = [
    "base.encoders=[clip-micro@32, patchy@32]",
    "base.fusion={name: added, grid: [4, 4]}",
    "base.recipe.prealign.steps=2",
    "base.recipe.prealign.warm_projector=0",
    "base.recipe.pretrain.steps=2",
    "base.recipe.finetune.steps=2",
    "explore={kind: rounds, rounds: 1, pool: [pix2struct-micro@128]}",
    "seeds=[0]",
]
"""Of micro/smoke, to train its fusion and its encoder for two steps each."""

OFFERS = {
    "fusion_zoo": {"added": "their_package.added:Added"},
    "ablate.encoders": {"theirs": "their_package.encoders:SPECS"},
    "ablate.encoder_families": {"patchy": "their_package.encoders:Patchy"},
}


def install(site: Path, *changes: tuple[str, str]) -> None:
    """Put the package into `site`, with parts of its source replaced."""
    sources = {"added": FUSION, "encoders": ENCODERS}
    for old, new in changes:
        assert any(old in source for source in sources.values())
        sources = {name: source.replace(old, new) for name, source in sources.items()}
    install_package(site, "their_package", sources, OFFERS)
