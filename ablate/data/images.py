"""Image files as pixels.

Shapes: H W pixels.
"""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ablate.catalog.data_sources import MEAN_COLOUR
from ablate.errors import UserError

Colour = tuple[int, int, int]


def read_image(
    file: Path | bytes, canvas: int | None = None, padding: Colour = MEAN_COLOUR
) -> npt.NDArray[np.uint8]:
    """The image file (or its bytes) as `as_array` makes it.

    Raises `UserError` for a missing or broken file.
    """
    name = "an embedded image" if isinstance(file, bytes) else str(file)
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as opened:
            image = opened.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"no image at {name}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{name} cannot be read as an image: {error}") from None
    return as_array(image, canvas, padding)


def as_array(
    image: Image.Image, canvas: int | None = None, padding: Colour = MEAN_COLOUR
) -> npt.NDArray[np.uint8]:
    """The RGB image as (3,H,W); with `canvas` padded to a square and resized to that side.

    Padding is even on both sides, resizing bicubic and antialiased; an image of that size already
    is left as it is.
    """
    if canvas is not None and image.size != (canvas, canvas):
        side = max(image.size)
        square = Image.new("RGB", (side, side), padding)
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        image = square.resize((canvas, canvas), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
