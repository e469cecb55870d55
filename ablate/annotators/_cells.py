"""What the annotators of the micro scale share: a frozen micro encoder and a head of its own, which
tells of each cell of a page what is in it, as far as pixels tell.

Shapes: B images, H W pixels, G = 16 cells, C channels, K values of an attribute.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from ablate.annotators._interface import Annotator, Observer, Pixels
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.catalog.encoders import resolve
from ablate.catalog.micro_encoders import WEIGHTS
from ablate.cost.encoders import Cost, cost
from ablate.data.world.scenes import GRID
from ablate.files import sha256_files

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ablate.encoders.base import Encoder

Cell = Mapping[str, str]
"""What a cell holds: attribute -> value."""


class CellObserver(Observer):
    """`encoder`: the title of the expert that looks; `attributes`: what its head tells of a cell,
    and the values that each may have, `kind` among them; `head`: the name of the head's weights,
    which `ablate bake` trains."""

    drawn: ClassVar[bool] = True
    encoder: ClassVar[str]
    head: ClassVar[str]
    attributes: ClassVar[Mapping[str, tuple[str, ...]]]

    @cached_property
    def spec(self) -> EncoderSpec:
        """Of its encoder."""
        return resolve(self.encoder)

    def weights(self) -> Mapping[str, Any]:
        file = WEIGHTS / "micro" / f"{self.head}.safetensors"
        return {"encoder": self.spec.to_json(), "head": {"sha256": sha256_files([file])}}

    def cost(self) -> Cost:
        values = sum(map(len, self.attributes.values()))
        heads = Cost(values * (self.spec.width + 1), 2 * GRID * GRID * self.spec.width * values)
        looks = cost(self.spec)
        return Cost(looks.parameters + heads.parameters, looks.flops + heads.flops)

    def load(self, device: str) -> None:
        from ablate.encoders.build import build_encoder
        from ablate.encoders.tensors import load_module

        self.looks: Encoder = build_encoder(self.spec).eval().to(device)
        self.heads = self.untrained_heads()
        load_module(self.heads, WEIGHTS / "micro" / f"{self.head}.safetensors")
        self.heads.eval().to(device)
        self.device = device

    def untrained_heads(self) -> "nn.ModuleDict":
        """(B,G,C) -> (B,G,K) for each attribute."""
        from torch import nn

        sizes = {name: len(values) for name, values in self.attributes.items()}
        return nn.ModuleDict({name: nn.Linear(self.spec.width, n) for name, n in sizes.items()})

    def cells(self, images: Sequence[Pixels]) -> list[list[Cell]]:
        """What each cell of each page holds, row by row."""
        import torch

        with torch.inference_mode():
            pages = torch.cat([self._page(image) for image in images]).to(self.device)
            features = self.looks(pages).tokens()
            chosen = {name: head(features).argmax(-1) for name, head in self.heads.items()}
        return [
            [self._cell(chosen, page, cell) for cell in range(GRID * GRID)]
            for page in range(len(images))
        ]

    def _cell(self, chosen: Mapping[str, "Tensor"], page: int, cell: int) -> Cell:
        """`chosen`: (B,G) the numbers of values."""
        return {name: self.attributes[name][int(best[page, cell])] for name, best in chosen.items()}

    def _page(self, image: Pixels) -> "Tensor":
        """(1,3,H,W) in [0,1], at the encoder's resolution."""
        import torch
        from torch.nn import functional as F

        pixels = torch.from_numpy(image)[None].float() / 255
        size = (self.spec.resolution, self.spec.resolution)
        if pixels.shape[-2:] == size:
            return pixels
        return F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)


class CellAnnotator(CellObserver, Annotator):
    """Says what it sees, cell by cell."""

    def say(self, cells: Sequence[Cell]) -> str:
        """The text of a page, from what its cells hold, row by row."""
        raise NotImplementedError

    def annotate(self, images: Sequence[Pixels]) -> Sequence[str]:
        return [self.say(cells) for cells in self.cells(images)]


def cell_words(cell: int) -> str:
    """Where a cell is, as the questions of the world have it: `r1 c2`."""
    return f"r{cell // GRID + 1} c{cell % GRID + 1}"
