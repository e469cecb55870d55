"""Features of frozen encoders, made once for all stages that read them.

Where a stage trains no encoder, what each makes of an image is the same at every step and for every
candidate that holds it. So it is made of all images of the data once, kept below the home, and read
from there: to the bit what the stage would see in the pixels, on a processor of this kind.

Shapes: B images, F values an image; where a tiling cuts images, of their views.
"""

import hashlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save
from torch import Tensor

from ablate.data.collate import image_batches
from ablate.data.dataset import Conversations
from ablate.data.features import Features
from ablate.data.made import made
from ablate.data.prepare import Part
from ablate.encoders.base import Encoder
from ablate.encoders.tensors import distinct
from ablate.files import flush, sha256_json
from ablate.home import Home
from ablate.model.mixture import Mixture, feature_size, features
from ablate.store.record import machine, versions
from ablate.train.plan import Plan

if TYPE_CHECKING:
    from ablate.worker.context import StepContext

VERSION = 1
"""Raised when our code would make other features of the same image."""
LIMIT = 2**30
"""Bytes that the features of an encoder may take for a source; larger ones are not kept."""
FILE = "features.bin"


def use_features(
    ctx: "StepContext", plan: Plan, mixture: Mixture, data: Conversations, steps: int
) -> None:
    """Have `data` give the features of images in place of their pixels, where that is worth it.

    It is where no encoder learns, each image is seen once at least, and there is room. Not on a
    GPU, which sees an image sooner than a disk gives what it saw. Raises UserError (file and row)
    for an image that cannot be read.
    """
    alone = ctx.world.size == 1 and ctx.device == "cpu" and plan.precision != "bf16"
    frozen = "encoders" not in plan.train and not mixture.fusion.reaches_inside_base
    # Where some rows are left out, what is wrong with the images of those is nobody's business.
    whole = all(part.budget.allowed == 0 and part.files.weight >= 1 for part in data.parts.values())
    if not (alone and frozen and whole) or steps * plan.batch_size < len(data):
        return
    encoders = mixture.all_encoders
    parts = {name: part for name, part in data.parts.items() if part.index.num_images}
    views = {name: data.tiles.num_views(sizes) for name, sizes in data.sizes.items()}
    rows = {name: views[name].sum() if views else parts[name].index.num_images for name in parts}
    sizes = [4 * feature_size(encoder) * count for encoder in encoders for count in rows.values()]
    if max(sizes, default=0) > LIMIT or 2 * sum(sizes) > shutil.disk_usage(ctx.home).free:
        return
    for name, part in parts.items():
        files = [_made(ctx, encoder, data, part) for encoder in encoders]
        data.features[name] = Features(files, part.index.num_images, views.get(name))


def _made(ctx: "StepContext", encoder: Encoder, data: Conversations, part: Part) -> Path:
    """The file of an encoder's features of a source, made if it is not there."""
    identity: dict[str, Any] = {
        "version": VERSION,
        "encoder": encoder.spec.to_json(),
        "weights": hashlib.sha256(save(_weights(encoder))).hexdigest(),
        "code": [ctx.spec.get("plugins"), ctx.spec.get("revisions"), versions()],
        "machine": machine(),
        "images": [part.index.folder.name, data.canvas, data.padding],
    }
    if data.maps and encoder.sees_drawn:
        identity["maps"] = data.maps.identity
    if data.tiles.cuts:
        identity["views"] = [ctx.spec["model"]["tiling"], data.tiles.tiling.side]

    def fill(folder: Path) -> None:
        print(f"{encoder.spec.title}: its features of {part.budget.source}", file=sys.stderr)
        with (folder / FILE).open("wb") as file:
            for pixels in image_batches(data.seen(part)):
                file.write(features(encoder, pixels).numpy().data)
            file.flush()
        flush(folder / FILE)

    folder = Home(ctx.home).data / f"features-{sha256_json(identity)[:12]}"
    return made(folder, fill) / FILE


def _weights(encoder: Encoder) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in distinct(encoder).items()}
