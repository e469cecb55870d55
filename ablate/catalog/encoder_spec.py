"""What an encoder is, as data: everything needed to build it, and nothing that needs torch."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablate.errors import UserError

LATER: Mapping[str, Any] = {"pyramid": (), "layer": None, "dense": ""}
"""Fields that came later, by default left out of JSON: such an encoder is still the same one."""


STRIP = 8
"""How many cells of a row of an earlier block's map become one, where `dense` is `sti`."""


@dataclass(frozen=True)
class Weights:
    """Where an encoder's weights come from.

    kind: "shipped" (a safetensors file under `ablate/weights`), "published" (a file of a repository
    on the Hugging Face hub, tensors under their published names; found by
    `ablate.catalog.weights`), "folder" (a file of a folder, known by the content of all of them) or
    "none" (random, from the spec's `init_seed`). ref: the file's path under `ablate/weights`, the
    repository, or the folder. file: the published file, or the index of several.
    revision: the repository's commit, None for whichever is there. sha256: of the file; None where
    it is not known, or while shipped weights do not exist.
    """

    kind: str
    ref: str = ""
    sha256: str | None = None
    file: str = ""
    revision: str | None = None


@dataclass(frozen=True)
class EncoderSpec:
    """One vision encoder at one input resolution.

    family: the class that builds it (`ablate.encoders.build`); architecture: the arguments of that
    family's configuration in transformers or timm. resolution and patch in pixels, patch being
    the encoder's whole stride; unshuffle: k of the `pixel_unshuffle` of its last map (1: none);
    width: channels of its feature map, after that. mean, std: its own normalisation, for pixels in
    [0, 1]. max_patches: an image of more patches is shrunk, keeping its shape, and for published
    weights one of fewer is enlarged, as their processor does (Pix2Struct; None: neither). tile:
    pixels of the tiles' side into which the image is cut, each seen by itself and their maps put
    side by side again (None: the image is seen whole, its positions interpolated). ragged: a border
    too narrow for a patch is left out instead of refused (SigLIP at 384 pixels). pyramid: finer
    maps handed on beside its own, each as (pixels of its stride, channels), the coarsest first
    (none: its own map alone; a family says whether it can). layer: the map is what its block of
    this number gives, counted from 1, without the closing norm (None: its family's own). dense:
    how it hands on those of earlier blocks, too (see `ablate.catalog.encoder_layers`).
    task, licence, source say what it was trained for and where it is from: they decide no result.
    """

    name: str
    family: str
    resolution: int
    patch: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    architecture: Mapping[str, Any]
    weights: Weights
    unshuffle: int = 1
    max_patches: int | None = None
    tile: int | None = None
    ragged: bool = False
    pyramid: tuple[tuple[int, int], ...] = ()
    layer: int | None = None
    dense: str = ""
    init_seed: int = 0
    task: str = field(default="", compare=False)
    licence: str = field(default="", compare=False)
    source: str = field(default="", compare=False)

    @property
    def title(self) -> str:
        """`family-size@resolution`, and its options: the encoder's name everywhere."""
        layer = f":layer={self.layer}" if self.layer is not None else ""
        dense = f":dense={self.dense}" if self.dense else ""
        return f"{self.name}@{self.resolution}{layer}{dense}"

    @property
    def grid(self) -> tuple[int, int]:
        """(H, W) of its feature map at its resolution."""
        rows, columns = self.patches(self.resolution, self.resolution)
        return rows // self.unshuffle, columns // self.unshuffle

    @property
    def maps(self) -> list[tuple[int, int, int]]:
        """(C, H, W) of each map it gives at its resolution: its own, then those of `pyramid`, or of
        earlier blocks where `dense` is `sti`."""
        finer = [(width, self.patch // stride) for stride, width in self.pyramid]
        rows, columns = self.grid
        strips = [(self.width, rows, columns // STRIP)] * (2 if self.dense == "sti" else 0)
        return [
            (self.width, rows, columns),
            *strips,
            *((width, rows * times, columns * times) for width, times in finer),
        ]

    def patches(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of patches it sees in an image of `height` x `width` pixels.

        Raises UserError if the encoder cannot take this size.
        """
        step = self.tile or self.patch * self.unshuffle
        for pixels in {height, width}:
            if pixels < step or (pixels % step and not self.ragged):
                below = max(step, pixels // step * step)
                raise UserError(
                    f"encoder '{self.name}' cannot take {pixels} pixels: its sides are multiples "
                    f"of {step}; the nearest are {below} and {below + step}"
                )
        rows, columns = height // self.patch, width // self.patch
        if self.max_patches is None:
            return rows, columns
        if rows * columns <= self.max_patches and self.weights.kind != "published":
            return rows, columns
        scale = math.sqrt(self.max_patches / (rows * columns))
        fit = [int(scale * n) // self.unshuffle * self.unshuffle for n in (rows, columns)]
        return max(fit[0], self.unshuffle), max(fit[1], self.unshuffle)

    def at(self, resolution: int) -> "EncoderSpec":
        """The same encoder at another input resolution; UserError if it cannot take it."""
        self.patches(resolution, resolution)
        return dataclasses.replace(self, resolution=resolution)

    def to_json(self) -> dict[str, Any]:
        """Everything that decides the encoder's output, as JSON values."""
        fields = [f.name for f in dataclasses.fields(self) if f.compare]
        fields = [name for name in fields if getattr(self, name) != LATER.get(name, self)]
        values = {name: getattr(self, name) for name in fields}
        values |= {"weights": dataclasses.asdict(self.weights)}
        values |= {"architecture": dict(self.architecture)}
        result: dict[str, Any] = json.loads(json.dumps(values))
        return result

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "EncoderSpec":
        """The inverse of `to_json`; UserError names the first field that does not fit."""
        fields = {f.name: f for f in dataclasses.fields(cls) if f.compare}
        values = {**LATER, **values}
        for name in sorted(values.keys() ^ fields.keys()):
            raise UserError(f"encoder: {'unknown' if name in values else 'missing'} field '{name}'")
        mean, std = tuple(values["mean"]), tuple(values["std"])
        pyramid = tuple((stride, width) for stride, width in values["pyramid"])
        weights = Weights(**values["weights"])
        typed = {"mean": mean, "std": std, "pyramid": pyramid, "weights": weights}
        return cls(**{**values, **typed})
