"""A picture's pixels are those a viewer shows, however it is stored and whatever its shape."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ablate.catalog.data_sources import MEAN_COLOUR
from ablate.data import images
from ablate.data.images import as_array, read_image
from ablate.errors import UserError

Pixels = npt.NDArray[np.uint8]
RAMP = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)  # of 16 bits, all 256 greys
GREYS = np.broadcast_to((RAMP >> 8).astype(np.uint8), (3, 16, 16))


def stored(image: Image.Image, kind: str, **more: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def pgm(values: npt.NDArray[np.uint16]) -> bytes:
    height, width = values.shape
    return b"P5 %d %d 65535\n" % (width, height) + values.astype(">u2").tobytes()


@pytest.mark.parametrize(
    "file",
    [
        stored(Image.fromarray(RAMP), "PNG"),
        stored(Image.fromarray(RAMP), "TIFF"),
        pgm(RAMP),
        stored(Image.fromarray((RAMP >> 8).astype(np.uint8)), "PNG"),
    ],
    ids=["png", "tiff", "pgm", "8 bits"],
)
def test_grey_of_16_bits_is_scaled_to_8(file: bytes) -> None:
    np.testing.assert_array_equal(read_image(file), GREYS)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I"])
def test_grey_of_16_bits_already_decoded_is_scaled_too(mode: str) -> None:
    """As benchmarks give it."""
    kind = {"I": "<i4", "I;16B": ">u2"}.get(mode, "<u2")
    image = Image.frombytes(mode, (16, 16), RAMP.astype(kind).tobytes())
    np.testing.assert_array_equal(as_array(image), GREYS)


@pytest.mark.parametrize(
    "values", [(RAMP / 65535).astype(np.float32), RAMP.astype(np.int32) * 2, -RAMP.astype(np.int32)]
)
def test_pixels_of_no_known_range_are_refused_with_the_remedy(values: npt.NDArray[Any]) -> None:
    file = stored(Image.fromarray(values), "TIFF")
    with pytest.raises(UserError, match=r"an embedded image .* of no known range; save it with 8"):
        read_image(file)


def with_alpha(mode: str) -> bytes:
    """Red, or dark grey, left; a half of it let through in the middle; nothing at the right."""
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0], rgba[0, :, 3] = 200, [255, 128, 0]
    if mode == "RGBA":
        return stored(Image.fromarray(rgba), "PNG")
    return stored(Image.fromarray(np.ascontiguousarray(rgba[..., [0, 3]])), "PNG")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("RGBA", [[200, 0, 0], [227, 127, 127], [255, 255, 255]]),
        ("LA", [[200] * 3, [227] * 3, [255] * 3]),
    ],
)
def test_what_is_transparent_is_seen_over_white(mode: str, expected: list[list[int]]) -> None:
    assert read_image(with_alpha(mode))[:, 0].T.tolist() == expected


@pytest.mark.parametrize("mode", ["P", "L", "1", "RGB", "I;16"])
def test_a_colour_marked_as_transparent_is_white(mode: str) -> None:
    if mode == "I;16":
        file = stored(Image.fromarray(np.array([[7, 51400]], np.uint16)), "PNG", transparency=7)
    else:
        image = Image.new("RGB", (2, 1))
        image.putpixel((1, 0), (200, 200, 200))
        clear = (0, 0, 0) if mode == "RGB" else 0
        if mode == "P":
            image = image.quantize(2)
            clear = image.getpixel((0, 0))
        file = stored(image.convert(mode), "PNG", transparency=clear)
    left, right = read_image(file)[:, 0].T.tolist()
    assert left == [255, 255, 255]
    assert right == [255 if mode == "1" else 200] * 3


def test_a_palette_with_an_alpha_of_its_own_is_composited() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 10, 20, 30])
    file = stored(image, "PNG", transparency=b"\xff\x00")
    assert read_image(file)[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize(
    "file",
    [
        stored(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "TIFF"),
        stored(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "JPEG", quality=100),
        stored(Image.new("RGB", (2, 2), "red").quantize(2), "GIF"),
        stored(Image.new("RGB", (2, 2), "red").convert("YCbCr"), "JPEG", quality=100),
    ],
    ids=["cmyk tiff", "cmyk jpeg", "gif", "jpeg"],
)
def test_colours_of_other_kinds_become_rgb(file: bytes) -> None:
    np.testing.assert_allclose(read_image(file)[:, 0, 0], [255, 0, 0], atol=2)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("canvas", [None, 12])
def test_a_picture_is_turned_as_its_exif_says(orientation: int, canvas: int | None) -> None:
    values = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = stored(Image.fromarray(values), "PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
    np.testing.assert_array_equal(read_image(file, canvas), as_array(upright.copy(), canvas))
    shape = np.asarray(upright).shape[:2]
    assert shape == ((6, 4) if orientation > 4 else (4, 6))


@pytest.mark.parametrize("exif", [b"Exif\0\0MM", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"?" * 40])
def test_a_picture_with_damaged_exif_is_shown_as_it_is(exif: bytes) -> None:
    file = stored(Image.new("RGB", (4, 2), "red"), "JPEG", exif=exif)
    assert read_image(file).shape == (3, 2, 4)


def padded(image: Image.Image, canvas: int) -> Pixels:
    """By the definition: on a square, then resized."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), MEAN_COLOUR)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    resized = square.resize((canvas, canvas), Image.Resampling.BICUBIC)
    return np.asarray(resized).transpose(2, 0, 1)


@settings(deadline=None, max_examples=40)
@given(width=st.integers(1, 70), height=st.integers(1, 70), canvas=st.integers(1, 90))
def test_ordinary_pictures_are_padded_then_resized_to_the_bit(
    width: int, height: int, canvas: int
) -> None:
    values = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    expected = (
        padded(image, canvas) if image.size != (canvas, canvas) else values.transpose(2, 0, 1)
    )
    np.testing.assert_array_equal(as_array(image, canvas), expected)


@settings(deadline=None, max_examples=60)
@given(
    long=st.integers(40, 400),
    short=st.integers(1, 19),
    share=st.integers(4, 40),
    turned=st.booleans(),
)
def test_long_pictures_are_shrunk_first_to_the_same_pixels(
    long: int, short: int, share: int, turned: bool
) -> None:
    """Even where they are noise. Such a picture is four times its canvas, or more."""
    size = (long, short) if turned else (short, long)
    draw = np.random.default_rng(long * short)
    image = Image.fromarray(draw.integers(0, 256, (*size, 3), dtype=np.uint8))
    canvas = max(1, long // share)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "SQUARE", 0)
        found = as_array(image, canvas).astype(int)
    assert np.abs(found - padded(image, canvas)).max() <= 1


def sparse(width: int, height: int) -> bytes:
    return stored(Image.new("1", (width, height)), "PNG")


@pytest.mark.parametrize("size", [(13_300, 13_300), (70_000, 1), (1, 70_000)])
@pytest.mark.parametrize("canvas", [None, 64])
def test_a_picture_beyond_the_limit_is_refused_by_its_header(
    size: tuple[int, int], canvas: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = sparse(*size)
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match=f"{size[0]:,}x{size[1]:,} pixels, but at most"):
        read_image(file, canvas)


def test_a_jpeg_beyond_the_limit_is_decoded_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = np.linspace(0, 255, 1024).astype(np.uint8)
    image = Image.fromarray(np.dstack(np.broadcast_arrays(ramp, ramp[:640, None], ramp[0])))
    file = stored(image, "JPEG", quality=95)
    whole = read_image(file, 64).astype(int)
    monkeypatch.setattr(images, "MAX_PIXELS", 1024 * 640 - 1)
    np.testing.assert_allclose(read_image(file, 64), whole, atol=6)
    with pytest.raises(UserError, match="1,024x640 pixels"):
        read_image(file)


MEASURE = """
import io, resource, sys
from PIL import Image
from ablate.data.images import read_image

def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

before = used()
for width, height in ((40_000, 1), (1, 40_000), (60_000, 20), (1280, 20_000)):
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    assert read_image(file.getvalue(), 448).shape == (3, 448, 448)
print(used() - before)
"""


def test_a_long_picture_takes_no_more_memory_than_its_own_pixels(tmp_path: Path) -> None:
    """They took 14 GB as squares; 1280x20000 are 102 MB as Pillow holds them."""
    code = tmp_path / "measure.py"
    code.write_text(MEASURE)
    done = subprocess.run([sys.executable, code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300
