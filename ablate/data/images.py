"""Pictures as pixels: the same for training and for evaluation, whatever they are stored as.

What a viewer shows is what a model sees: turned as the file's EXIF says, transparent parts over
white, 16 bits of grey scaled to 8 as Pillow does for colour (the high byte). Pixels whose range is
unknown (floats, integers beyond 16 bits) are refused rather than guessed at.

Shapes: H W pixels.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil, floor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from ablate.catalog.data_sources import MEAN_COLOUR
from ablate.data.bad import reason
from ablate.errors import UserError

Colour = tuple[int, int, int]

MAX_PIXELS = 2**27
"""Pixels a picture may have (some 134 million: 0.5 GB as RGB); more are not decoded."""

MAX_SIDE = 2**16
"""Pixels a picture may be wide or high."""

SQUARE = 2**24
"""Pixels of the square that a picture of any shape is padded to before it is resized."""

REACH = 3
"""Pixels (of the picture or the canvas, the coarser) beyond which bicubic resizing sees nothing."""

BICUBIC = Image.Resampling.BICUBIC

BACKGROUND = (255, 255, 255, 255)

TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture of this EXIF orientation upright (1: it is)."""

LYING = (5, 6, 7, 8)
"""Orientations whose width and height change places."""


def read_image(
    file: Path | bytes, canvas: int | None = None, padding: Colour = MEAN_COLOUR
) -> npt.NDArray[np.uint8]:
    """The image file (or its bytes) as `as_array` makes it.

    Raises `UserError` for a file that is missing, broken, too large or of an unknown range.
    """
    with _opened(file) as image:
        return as_array(image, canvas, padding)


def image_size(file: Path | bytes) -> tuple[int, int]:
    """Width and height of the picture as `read_image` gives it without a canvas.

    `UserError` as of it, but for what only its pixels would show.
    """
    with _opened(file) as image:
        return upright_size(image)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of what `as_array` makes of a picture without a canvas."""
    width, height = image.size
    return (height, width) if _orientation(image) in LYING else (width, height)


def pixel_digest(pixels: npt.NDArray[np.uint8]) -> bytes:
    """What tells pixels (3,H,W) from all others."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()


@contextmanager
def _opened(file: Path | bytes) -> Iterator[Image.Image]:
    """A picture; whatever goes wrong with it is a UserError."""
    name = "an embedded image" if isinstance(file, bytes) else str(file)
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            yield image
    except FileNotFoundError:
        raise UserError(f"no image at {name}") from None
    except UnidentifiedImageError:
        raise UserError(f"{name} cannot be read as an image: of no known format") from None
    except Exception as error:  # whatever a decoder stumbles over, the file is what is wrong
        raise UserError(f"{name} cannot be read as an image: {reason(error)}") from None


def as_array(
    image: Image.Image, canvas: int | None = None, padding: Colour = MEAN_COLOUR
) -> npt.NDArray[np.uint8]:
    """The picture as (3,H,W) RGB; with `canvas` padded to a square and resized to that side.

    Padding is even on both sides, resizing bicubic and antialiased; a picture of that size already
    is left as it is. A JPEG of too many pixels is decoded at a half, a quarter or an eighth where
    that is at least twice the canvas. Raises `UserError` for a picture that is still too large, or
    whose pixels have no known range; nothing of it is decoded then.
    """
    if canvas is not None and image.width * image.height > MAX_PIXELS:
        share = 2 * canvas / max(image.size)
        image.draft(None, (ceil(image.width * share), ceil(image.height * share)))
    if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
        raise UserError(
            f"{image.width:,}x{image.height:,} pixels, but at most {MAX_PIXELS:,} are decoded, "
            f"and {MAX_SIDE:,} a side"
        )
    orientation = _orientation(image)
    image = _rgb(image)
    if orientation in TURNED:
        image = image.transpose(TURNED[orientation])
    if canvas is not None and image.size != (canvas, canvas):
        image = _on_canvas(image, canvas, padding)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _orientation(image: Image.Image) -> int | None:
    """What its EXIF says; None where there is none that can be read: viewers show those, too."""
    try:
        orientation: int | None = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises nearly anything for damaged EXIF
        return None
    return orientation


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode == "I" or image.mode.startswith("I;16"):
        return _from_long(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_long(image: Image.Image) -> Image.Image:
    """A picture of one channel of more than 8 bits; what it marks as transparent becomes white."""
    if image.mode == "F":
        raise UserError("its pixels are floats, of no known range; save it with 8 or 16 bits")
    values = np.asarray(image)
    if image.mode == "I" and (values.min() < 0 or values.max() > 65535):
        raise UserError("its pixels are integers of no known range; save it with 8 or 16 bits")
    grey = (values >> 8).astype(np.uint8)
    if isinstance(clear := image.info.get("transparency"), int):
        grey[values == clear] = 255
    return Image.fromarray(grey).convert("RGB")


def _on_canvas(image: Image.Image, canvas: int, padding: Colour) -> Image.Image:
    """The picture in the middle of a square, resized.

    Where that square would hold more than `SQUARE` pixels, and twice the picture's, the picture is
    first shrunk along its longer side, and padded only as far as resizing reaches. That is the same
    to about 1/255: Pillow rounds between the two passes, and resizes rows before columns.
    """
    width, height = image.size
    side = max(width, height)
    if side**2 > max(SQUARE, 2 * width * height):
        if width > height:
            return _band_on_canvas(image.resize((canvas, height), BICUBIC), side, padding)
        turned = image.resize((width, canvas), BICUBIC).transpose(Image.Transpose.TRANSPOSE)
        return _band_on_canvas(turned, side, padding).transpose(Image.Transpose.TRANSPOSE)
    square = image
    if width != height:
        square = Image.new("RGB", (side, side), padding)
        square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square.resize((canvas, canvas), BICUBIC)


def _band_on_canvas(band: Image.Image, side: int, padding: Colour) -> Image.Image:
    """A picture already as wide as the canvas, in the middle of `side` rows that become as many."""
    canvas, height = band.size
    step = side / canvas  # rows of the square for one of the canvas
    reach = REACH * max(step, 1)
    above = (side - height) // 2
    first = max(0, floor((above - reach) / step))
    last = min(canvas, ceil((above + height + reach) / step))
    top = max(0, floor(first * step - reach))
    bottom = min(side, ceil(last * step + reach))
    padded = Image.new("RGB", (canvas, bottom - top), padding)
    padded.paste(band, (0, above - top))
    seen = (0, first * step - top, canvas, min(last * step, bottom) - top)
    whole = Image.new("RGB", (canvas, canvas), padding)
    whole.paste(padded.resize((canvas, last - first), BICUBIC, box=seen), (0, first))
    return whole
