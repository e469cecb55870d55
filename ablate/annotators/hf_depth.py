"""How near everything is, by any model of transformers that estimates depth, such as DPT.

Shapes: h w the grid of a map.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ablate.annotators._hub import HubModel
from ablate.annotators._interface import Map, MapAnnotator, Pixels
from ablate.cost.encoders import Cost
from ablate.files import disk_cache

SIZES = {"Intel/dpt-large": Cost(343_030_465, 516_412_243_968)}
"""Of models that a study can be planned with before they are here, by their published
configurations, of an image of 384 pixels."""
SIDE = 112
"""Cells a side of its maps, two pixels each of what is looked at by default."""


class HfDepth(HubModel, MapAnnotator):
    """`model`: a folder (its whole path), or a repository that `ablate fetch` brings; loaded as
    `AutoModelForDepthEstimation`. What it estimates goes from 0 to 1 within each image, (1,h,w)."""

    called: ClassVar[str] = "map:hf_depth:"
    channels = 1

    def __init__(self, *, model: str = "") -> None:
        super().__init__(model)

    def cost(self) -> Cost | None:
        """Of an image at the size it takes. UserError for a folder that holds no such model."""
        if self.folder is None:
            return SIZES.get(self.model)
        folder = str(self.folder)
        with self.loading():
            figures = disk_cache("annotators", [dict(self.weights())], lambda: _measured(folder))
        return Cost(figures["parameters"], figures["flops"])

    def read(self, folder: Path) -> tuple[Any, Any]:
        from transformers import AutoImageProcessor, AutoModelForDepthEstimation

        network = AutoModelForDepthEstimation.from_pretrained(
            folder, dtype="auto", use_safetensors=True, local_files_only=True
        )
        return network, AutoImageProcessor.from_pretrained(folder, local_files_only=True)

    def draw(self, images: Sequence[Pixels]) -> Sequence[Map]:
        """One by one: images of several sizes are prepared apart."""
        return [self._depth(image) for image in images]

    def _depth(self, image: Pixels) -> Map:
        import torch
        from torch.nn import functional as F

        given = self.processor(
            images=image, input_data_format="channels_first", return_tensors="pt"
        )
        pixels = given["pixel_values"].to(self.network.device, self.network.dtype)
        with torch.inference_mode():
            depth = self.network(pixel_values=pixels).predicted_depth.float()
        depth = F.interpolate(depth[:, None], (SIDE, SIDE), mode="bilinear", antialias=True)[0]
        least, most = depth.min(), depth.max()
        shares = (depth - least) / (most - least).clamp(min=1e-6)
        drawn: Map = (255 * shares).round().byte().cpu().numpy()
        return drawn


def _measured(folder: str) -> dict[str, int]:
    """Parameters and FLOPs of one image, of the network built without memory."""
    import numpy as np
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForDepthEstimation

    grey = np.zeros((3, 480, 640), dtype=np.uint8)
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    given = processor(images=grey, input_data_format="channels_first", return_tensors="pt")
    with torch.device("meta"), torch.no_grad():
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        network = AutoModelForDepthEstimation.from_config(config).eval().requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(pixel_values=given["pixel_values"].to("meta"))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"parameters": parameters, "flops": counter.get_total_flops()}
