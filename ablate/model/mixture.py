"""Several encoders looking at one image, fused into one token sequence.

Shapes: B images, N tokens, C channels, H W pixels of the image, K channels of what is shown of it
(three of colours, behind them those of maps that annotators drew), S an encoder's resolution, F
values of its maps of an image.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ablate.encoders.base import Encoder
from ablate.errors import UserError
from fusion_zoo import FeatureMap, Instruction, LanguageShape
from fusion_zoo import build as build_fusion

View = tuple[int, bool, int, int]
"""How an encoder sees the image: pixels of its side, whether as `Encoder.aligned` says, and which
channels, from one to before another."""

COLOURS = 3


class Mixture(nn.Module):
    """Encoders (the base first) and a fusion of `fusion_zoo` onto a grid (H,W).

    The fusion gets every map of an encoder that has several (see `EncoderSpec.pyramid`).
    feature_norm "layer" normalises each expert's features over their channels, without weights,
    before the fusion (but not the base's where the fusion runs its blocks itself); "none" leaves
    them. `llm`: for a fusion that has to do with it. UserError if the fusion cannot take these
    encoders.
    """

    def __init__(
        self,
        encoders: Sequence[Encoder],
        fusion_name: str,
        grid: tuple[int, int],
        options: dict[str, Any],
        feature_norm: str,
        llm: LanguageShape | None = None,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(encoders)
        self.num_channels = COLOURS
        for encoder in encoders:
            if encoder.sees_drawn:
                encoder.first_channel = self.num_channels
                self.num_channels += encoder.channels
        shapes = [shape for encoder in encoders for shape in encoder.shapes]
        try:
            self.fusion = build_fusion(fusion_name, shapes, grid, llm, **options)
        except ValueError as error:
            raise UserError(str(error)) from error
        self.feature_norm = feature_norm

    def forward(
        self,
        pixels: Tensor,
        context: Instruction | None = None,
        chosen: Tensor | None = None,
    ) -> list[Tensor]:
        """(B,K,H,W) uint8, or floats in [0,1] -> (B,N_i,C_i) for every segment of the fusion, and
        its media if it has any. `context`: for a fusion that asks for the instruction; `chosen`,
        (B,E) bool: the experts it is to fuse, for one that `names_experts`.

        Each encoder sees the image resized to its own SxS from the full resolution: antialiased,
        or as `Encoder.aligned` says. In place of pixels it takes (B,F), the `features` of each
        encoder side by side, where the fusion does not run the base's blocks itself.
        """
        blocks = None
        if pixels.ndim == 2:
            maps = self._unpacked(pixels)
        else:
            image = _floats(pixels)
            seen = {view: _seen(image, view) for view in map(_view, self.all_encoders)}
            base, *experts = self.all_encoders
            rest = [
                feature_map
                for expert in experts
                for feature_map in _maps(expert, seen[_view(expert)])
            ]
            if self.fusion.reaches_inside_base:
                view = seen[_view(base)]
                shape_only = view.new_zeros(()).expand(len(view), *base.shape)
                maps, blocks = [FeatureMap(shape_only), *rest], base.blockwise(view)
            else:
                maps = [*_maps(base, seen[_view(base)]), *rest]
        if self.feature_norm != "none":
            bare = int(self.fusion.reaches_inside_base)
            maps = [*maps[:bare], *map(_normed, maps[bare:])]
        tokens: list[Tensor] = self.fusion(maps, blocks, context, chosen)
        return tokens

    def _unpacked(self, features: Tensor) -> list[FeatureMap]:
        shapes = [shape for encoder in self.all_encoders for shape in encoder.shapes]
        sizes = [shape.tokens * shape.channels for shape in shapes]
        return [
            FeatureMap.from_tokens(part.reshape(-1, shape.tokens, shape.channels), shape.grid)
            for part, shape in zip(torch.split(features, sizes, dim=1), shapes, strict=True)
        ]

    @property
    def all_encoders(self) -> list[Encoder]:
        """The base and the experts."""
        return [encoder for encoder in self.encoders if isinstance(encoder, Encoder)]


@torch.no_grad()
def features(encoder: Encoder, pixels: Tensor) -> Tensor:
    """(B,F): what a mixture's encoder makes of images (B,K,H,W), before it is normalised."""
    maps = _maps(encoder, _seen(_floats(pixels), _view(encoder)))
    return torch.cat([feature_map.tokens().flatten(1) for feature_map in maps], dim=1)


@torch.no_grad()
def feature_map(encoder: Encoder, pixels: Tensor) -> Tensor:
    """(B,C,H,W): an encoder's own map of images (B,3,H,W), as in a mixture, not normalised."""
    seen: Tensor = encoder(_seen(_floats(pixels), _view(encoder))).tensor
    return seen


def feature_size(encoder: Encoder) -> int:
    """The values F of an image's `features`."""
    return sum(shape.tokens * shape.channels for shape in encoder.shapes)


def _maps(encoder: Encoder, view: Tensor) -> list[FeatureMap]:
    """An encoder's maps of the image at its resolution."""
    return encoder.maps(view) if len(encoder.spec.maps) > 1 else [encoder(view)]  # with its hooks


def _floats(pixels: Tensor) -> Tensor:
    return pixels.float().div_(255) if pixels.dtype == torch.uint8 else pixels.float()


def _view(encoder: Encoder) -> View:
    first = encoder.first_channel
    return encoder.spec.resolution, encoder.aligned, first, first + encoder.channels


def _seen(image: Tensor, view: View) -> Tensor:
    size, aligned, first, end = view
    return _resize(image[:, first:end], size, aligned)


def _normed(features: FeatureMap) -> FeatureMap:
    normed = F.layer_norm(features.tokens(), (features.shape.channels,))
    return FeatureMap.from_tokens(normed, features.shape.grid)


def _resize(image: Tensor, size: int, aligned: bool) -> Tensor:
    if image.shape[-2:] == (size, size):
        return image
    how = {"align_corners": aligned, "antialias": not aligned}
    return F.interpolate(image, (size, size), mode="bilinear", **how).clamp_(0, 1)
