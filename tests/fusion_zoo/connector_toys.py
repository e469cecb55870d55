"""Connectors of a size to test with, and tokens for them.

B batch, N tokens, C channels; of the language model: D width, T tokens of an instruction.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fusion_zoo import Instruction, Segment
from fusion_zoo.connectors import CONNECTORS, Connector
from fusion_zoo.connectors._interface import Grid

WIDTH, SAID = 24, 3
"""Of the language model, and tokens that it is asked."""
SMALL: dict[str, dict[str, Any]] = {
    "c_abstractor": {"queries": 4, "inner": 16, "depth": 2},
    "d_abstractor": {"queries": 4, "inner": 16, "layers": 2, "heads": 2, "points": 2, "feed": 20},
    "meq_former": {"queries": 3, "inner": 16, "layers": 3, "heads": 2},
    "mousi": {"patches": 5},
    "perceiver_resampler": {"queries": 5, "depth": 2, "heads": 2, "head_width": 6},
    "pixel_shuffle": {"gate": 16},
    "qformer": {"queries": 3, "inner": 16, "layers": 3, "heads": 2},
    "resampler2d": {"queries": 4, "heads": 3},
    "sva": {"inner": 16, "heads": 2, "depth": 2},
    "token_packer": {"inner": 16, "heads": 2},
}
"""Options of those that are large by default."""
MORE: dict[str, Sequence[dict[str, Any]]] = {
    "mlp": [{"depth": 1}, {"depth": 3}],
    "perceiver_resampler": [{"style": "lynx"}],
    "pixel_shuffle": [
        {"style": "xcomposer"},
        {"style": "idefics3"},
        {"style": "qwen2_vl"},
        {"style": "aya"},
        {"style": "internvl", "size": 3},
    ],
    "pooling": [{"mode": "maximum"}, {"mode": "convolution"}, {"after": True, "depth": 3}],
    "qformer": [{"instruction": True}, {"every": 1}],
    "meq_former": [{"instruction": False}],
    "sva": [{"side": 2}],
}
"""Other ways of them."""
CASES = [
    (name, {**SMALL.get(name, {}), **more})
    for name in CONNECTORS.names()
    for more in ({}, *MORE.get(name, ()))
]
ONE = ([Segment(24, WIDTH)], [(4, 6)])
TWO = ([Segment(24, WIDTH), Segment(24, WIDTH)], [(4, 6), (4, 6)])
"""Segments with their grids, of the language model's width, so that `identity` takes them."""


def name_of(case: Any) -> str | None:
    """How a test is called by its case."""
    return " ".join(f"{one}" for one in case.values()) if isinstance(case, dict) else None


def build(
    name: str,
    options: dict[str, Any],
    segments: Sequence[Segment] = ONE[0],
    grids: Sequence[Grid | None] = ONE[1],
) -> Connector:
    made: Connector = CONNECTORS.build(name, segments, grids, WIDTH, **options)
    return made


def tokens_for(connector: Connector, batch: int = 2) -> list[Tensor]:
    return [torch.randn(batch, *segment) for segment in connector.segments]


def asked(batch: int = 2) -> Instruction:
    """What is asked about images: of the last one a token less."""
    mask = torch.ones(batch, SAID, dtype=torch.bool)
    if batch > 1:
        mask[-1, -1] = False
    return Instruction(torch.randn(batch, SAID, WIDTH) * mask[..., None], mask)


def scrambled(module: nn.Module) -> None:
    """Every parameter drawn anew, so that no zero of its start hides a mistake."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)
