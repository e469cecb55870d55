"""The pre-training tasks of the micro encoders, one a kind: what each expert becomes good at.

Each mirrors what the real encoder was trained for, densely: a map has one position a cell, and
every cell is taught. A task owns its heads (thrown away after baking) and gives a loss.

Shapes: B batch, G = 16 cells, C channels, Q sub-cells of 4 pixels (64 a cell).
"""

from collections.abc import Mapping
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ablate.bake.pages import ATTRIBUTES, cell_kind, draw_pages, draw_scenes, resized
from ablate.data.world.draw import CELL, CENTRES, PARTS
from ablate.data.world.scenes import (
    COLOURS,
    DOTS,
    GRID,
    PATTERNS,
    Position,
    Scene,
    position_words,
    sample_scene,
)
from ablate.encoders.base import Encoder

SUB = 4  # pixels of a sub-cell's side


class Task(nn.Module):
    """A loss on freshly drawn pages. `batch_size` counts pages."""

    batch_size = 32

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.width = encoder.spec.width

    def forward(self, encoder: Encoder, rng: Random) -> Tensor:
        """The loss of one batch."""
        raise NotImplementedError


def cells(encoder: Encoder, pixels: Tensor) -> Tensor:
    """(B,3,H,W) pages -> (B,G,C) features, one a cell."""
    features: Tensor = encoder(resized(pixels, encoder.spec.resolution)).tokens()
    return features


class RegionCaptions(Task):
    """Contrast of a cell with captions that name some of its attributes (CLIP, ConvNeXt-CLIP).

    A caption is the mean of its words' embeddings. Each filled or empty cell must find its caption
    among all different ones of the batch; `placed` captions also name the cell's row and column.
    """

    def __init__(
        self, encoder: Encoder, names: tuple[str, ...], kinds: tuple[str, ...], placed: bool
    ) -> None:
        super().__init__(encoder)
        self.names, self.kinds, self.placed = names, kinds, placed
        nouns = ("nothing", "number", "dots", "bar", "field", "letter")
        places = [f"{axis}{number + 1}" for axis in "rc" for number in range(GRID)]
        self.index = {word: i for i, word in enumerate((*COLOURS, *PATTERNS, *places, *nouns))}
        self.words = nn.EmbeddingBag(len(self.index), 96, mode="mean")
        self.text, self.image = nn.Linear(96, 96), nn.Linear(self.width, 96)
        self.scale = nn.Parameter(torch.tensor(2.3))

    def forward(self, encoder: Encoder, rng: Random) -> Tensor:
        pages = draw_pages(self.kinds, self.batch_size, rng)
        captioned = [
            self._caption((row, column), scene.cells.get((row, column), {}))
            for scene in pages.scenes
            for row in range(GRID)
            for column in range(GRID)
        ]
        captions = sorted(set(captioned))
        target = torch.tensor([captions.index(caption) for caption in captioned])
        text = self.text(torch.stack([self._embed(caption) for caption in captions]))
        image = self.image(cells(encoder, pages.pixels)).flatten(0, 1)
        logits = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T * self.scale.exp()
        return F.cross_entropy(logits, target)

    def _caption(self, position: Position, cell: Mapping[str, str]) -> tuple[str, ...]:
        words = (*(cell[name] for name in self.names if name in cell), cell_kind(cell))
        return (*position_words(position), *words) if self.placed else words

    def _embed(self, caption: tuple[str, ...]) -> Tensor:
        embedded: Tensor = self.words(torch.tensor([[self.index[word] for word in caption]]))
        return embedded[0]


class Reading(Task):
    """Every character of a cell: digits on things, keys, values and letters (Pix2Struct)."""

    names = ("digit", "letter", "tens", "ones")

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(self.width, len(ATTRIBUTES[name])) for name in self.names}
        )

    def forward(self, encoder: Encoder, rng: Random) -> Tensor:
        pages = draw_pages(("document", "objects", "document", "text"), self.batch_size, rng)
        features = cells(encoder, pages.pixels)
        losses = [_label_loss(head(features), pages.labels(n)) for n, head in self.heads.items()]
        return torch.stack(losses).mean()


class Detection(Task):
    """Centres of marks, digits and things at a stride of 4 pixels, and how many marks there are in
    a cell (EVA-02, trained for detection)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.head = nn.Linear(self.width, len(CENTRES) * (CELL // SUB) ** 2)
        self.count = nn.Linear(self.width, len(DOTS) + 1)

    def forward(self, encoder: Encoder, rng: Random) -> Tensor:
        pages = draw_pages(("objects",), self.batch_size, rng)
        features, heat = cells(encoder, pages.pixels), by_cell(F.max_pool2d(pages.heat, SUB))
        where = F.binary_cross_entropy_with_logits(
            self.head(features), heat.flatten(2), pos_weight=torch.tensor(4.0)
        )
        marks = heat[:, :, CENTRES.index("mark")].sum(-1).long()
        return where + 0.3 * _label_loss(self.count(features), marks)


class Segmentation(Task):
    """The part each sub-cell of 4 pixels belongs to, so every edge, and the height of the filled
    part of a cell in sub-cells (SAM, trained for segmentation)."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.head = nn.Linear(self.width, len(PARTS) * (CELL // SUB) ** 2)
        self.height = nn.Linear(self.width, CELL // SUB)

    def forward(self, encoder: Encoder, rng: Random) -> Tensor:
        pages = draw_pages(("chart", "chart", "objects"), self.batch_size, rng)
        masks = F.one_hot(pages.parts, len(PARTS)).permute(0, 3, 1, 2).float()
        features = cells(encoder, pages.pixels)
        logits = self.head(features).reshape(-1, len(PARTS), (CELL // SUB) ** 2)
        edges = F.cross_entropy(logits, by_cell(F.avg_pool2d(masks, SUB)).flatten(0, 1))
        filled = by_cell(masks[:, PARTS.index("filled"), None])  # (B,G,1,32*32)
        rows = filled.reshape(*filled.shape[:2], CELL, CELL).amax(-1).sum(-1)
        return edges + 0.3 * _label_loss(self.height(features), (rows / SUB).long())


class Instances(Task):
    """Two drawings of one thing must find each other among all things drawn (DINOv2).

    Self-supervised: no name of anything is used. The second drawing has another colour, pattern,
    turn, size, neighbour and place, so that only the outline tells which thing it is.
    """

    temperature = 0.2
    batch_size = 24

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.head = nn.Sequential(
            nn.Linear(self.width, 192), nn.GELU(), nn.Linear(192, 64, bias=False)
        )

    def forward(self, encoder: Encoder, rng: Random) -> Tensor:
        first = draw_pages(("objects",), self.batch_size, rng)
        moved = [_redrawn(scene, rng) for scene in first.scenes]
        second = draw_scenes([scene for scene, _ in moved], rng)
        pixels = torch.cat([first.pixels, second.pixels])
        features = F.normalize(self.head(cells(encoder, pixels)), dim=-1)
        pairs = [
            (page * GRID * GRID + _flat(old), (page + len(moved)) * GRID * GRID + _flat(new))
            for page, (_, places) in enumerate(moved)
            for old, new in places
        ]
        before, after = (features.flatten(0, 1)[list(side)] for side in zip(*pairs, strict=True))
        logits = before @ after.T / self.temperature
        target = torch.arange(len(pairs))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _redrawn(scene: Scene, rng: Random) -> tuple[Scene, list[tuple[Position, Position]]]:
    """The same outlines at other places with everything else drawn anew; and (old, new) places."""
    donors = [cell for _ in range(4) for cell in sample_scene("objects", rng).cells.values()]
    old = list(scene.cells)
    spots = rng.sample(range(GRID * GRID), len(old))
    new = [divmod(spot, GRID) for spot in spots]
    redrawn = {
        position: {**donor, "shape": scene.cells[was]["shape"]}
        for position, was, donor in zip(new, old, donors, strict=False)
    }
    return Scene("objects", redrawn), list(zip(old, new, strict=True))


def _flat(position: Position) -> int:
    return position[0] * GRID + position[1]


def by_cell(maps: Tensor) -> Tensor:
    """(B,K,H,W) maps of the whole page -> (B,G,K,Q): each cell's own part of them, row by row."""
    rows, columns = (size // GRID for size in maps.shape[-2:])
    split = maps.reshape(*maps.shape[:2], GRID, rows, GRID, columns)
    return split.permute(0, 2, 4, 1, 3, 5).flatten(1, 2).flatten(3)


def _label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the cells that have a label; 0 if none has."""
    known = labels >= 0
    total = F.cross_entropy(logits[known], labels[known], reduction="sum")
    return total / known.sum().clamp(min=1)
