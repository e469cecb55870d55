"""Draws a scene on a 128 x 128 canvas, a cell 32 x 32 pixels.

Patterns, dots and bar levels are balanced: their light and dark parts average to the same tone, so
that an encoder which sees the image at 32 pixels is left with colours, places and blurred outlines.
"""

from collections.abc import Mapping
from functools import cache
from math import cos, pi, sin
from random import Random

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ablate.data.world.digits import draw_digit
from ablate.data.world.scenes import GRID, LEVELS, NUMBERS, Scene

CELL = 32
CANVAS = CELL * GRID
TONES: Mapping[str, tuple[int, int, int]] = {
    "red": (205, 45, 45),
    "orange": (230, 130, 30),
    "yellow": (210, 200, 50),
    "green": (50, 160, 60),
    "cyan": (60, 185, 200),
    "blue": (50, 80, 200),
    "purple": (125, 50, 170),
    "pink": (225, 120, 180),
}
CONTRAST = 0.45  # light and dark tone of a pattern, as a share of the room around its mean

PARTS = ("paper", "thing", "filled", "empty")  # what a pixel may belong to
CENTRES = ("mark", "digit", "thing")  # what may be centred on a pixel

Colour = tuple[int, ...]


class Picture:
    """An image as it is drawn, with what a detector and a segmenter are taught of it.

    image: RGB; parts: for each pixel the index of its part in PARTS; centres: (index in CENTRES,
    x, y) of everything that has one.
    """

    def __init__(self, rng: Random, held_out: bool = False) -> None:
        paper = rng.randint(222, 245)
        tone = (paper, paper, paper - rng.randint(0, 12))
        self.image = Image.new("RGB", (CANVAS, CANVAS), tone)
        self.parts = Image.new("L", (CANVAS, CANVAS))
        self.centres: list[tuple[int, int, int]] = []
        self.rng = rng
        self.held_out = held_out


def draw_scene(scene: Scene, rng: Random, held_out: bool = False) -> Picture:
    """Draw the scene; position, size, turn and tone vary with `rng`, digits are of one split."""
    picture = Picture(rng, held_out)
    for (row, column), cell in scene.cells.items():
        _DRAWERS[scene.kind](picture, column * CELL, row * CELL, cell)
    return picture


def _object(picture: Picture, x: int, y: int, cell: Mapping[str, str]) -> None:
    """A patterned shape, turned at will, and beside it a handwritten digit or a card of dots."""
    rng, left = picture.rng, picture.rng.random() < 0.5
    size = 22
    mask = _shape_mask(cell["shape"], size, rng)
    tile = _pattern(cell["pattern"], _vary(TONES[cell["colour"]], rng), size, rng)
    corner = (x + (CELL - size if left else 0), y + rng.randint(0, CELL - size))
    picture.image.paste(tile, corner, mask)
    picture.parts.paste(PARTS.index("thing"), corner, mask)
    _centre(picture, "thing", corner, size, size)
    x += 0 if left else CELL - 10
    if "digit" in cell:
        width, height = rng.randint(9, 10), rng.randint(12, 14)
        corner = (x, y + rng.randint(2, CELL - height - 2))
        ink = draw_digit(cell["digit"], (width, height), rng, picture.held_out)
        picture.image.paste(_ink(rng), corner, ink)
        _centre(picture, "digit", corner, width, height)
    else:
        _dots(picture, x, y + rng.randint(1, 11), NUMBERS.index(cell["dots"]))


def _dots(picture: Picture, x: int, y: int, count: int) -> None:
    """A grey card of 10 x 20 pixels with `count` balanced black-and-white marks on it."""
    grey = picture.rng.randint(120, 136)
    ImageDraw.Draw(picture.image).rectangle((x, y, x + 9, y + 19), fill=(grey, grey, grey))
    mark = _mark(grey)
    for slot in picture.rng.sample(range(8), count):
        corner = (x + 1 + 4 * (slot % 2), y + 1 + 5 * (slot // 2))
        picture.image.paste(mark, corner)
        _centre(picture, "mark", corner, 4, 4)


def _centre(picture: Picture, what: str, corner: tuple[int, int], width: int, height: int) -> None:
    x, y = corner
    picture.centres.append((CENTRES.index(what), x + width // 2, y + height // 2))


@cache
def _mark(grey: int) -> Image.Image:
    """A mark of 4 x 4 pixels, black inside white, whose mean is `grey`."""
    pixels = np.full((4, 4, 3), min(255, (16 * grey) // 12), np.uint8)
    pixels[1:3, 1:3] = 0
    return Image.fromarray(pixels)


def _bar(picture: Picture, x: int, y: int, cell: Mapping[str, str]) -> None:
    """A framed bar: solid up to its level, finely striped above, both of one mean tone."""
    rng = picture.rng
    colour = _vary(TONES[cell["colour"]], rng)
    step, width = 4, rng.randint(10, 16)
    height = step * (len(LEVELS) + 1)
    x, y = x + rng.randint(2, CELL - width - 2), y + rng.randint(2, CELL - height - 1)
    edge = y + height - step * int(cell["level"])
    ImageDraw.Draw(picture.image).rectangle(
        (x - 1, y - 1, x + width, y + height), outline=(60, 60, 60)
    )
    stripes = _pattern("striped", colour, height, rng)
    picture.image.paste(stripes.crop((0, 0, width, height)), (x, y))
    picture.image.paste(colour, (x, edge, x + width, y + height))
    picture.parts.paste(PARTS.index("empty"), (x, y, x + width, edge))
    picture.parts.paste(PARTS.index("filled"), (x, edge, x + width, y + height))


def _field(picture: Picture, x: int, y: int, cell: Mapping[str, str]) -> None:
    """A form's field: a printed key, then its value by hand."""
    rng = picture.rng
    y += rng.randint(4, 12)
    _letter(picture, x + rng.randint(0, 1), y, cell["letter"], 11)
    for index, digit in enumerate((cell["tens"], cell["ones"])):
        ink = draw_digit(digit, (9, rng.randint(12, 14)), rng, picture.held_out)
        picture.image.paste(_ink(rng), (x + 12 + 10 * index, y + rng.randint(0, 2)), ink)


def _text(picture: Picture, x: int, y: int, cell: Mapping[str, str]) -> None:
    """One printed letter of a word."""
    rng = picture.rng
    size = rng.randint(14, 18)
    _letter(picture, x + rng.randint(4, 12), y + rng.randint(4, 10), cell["letter"], size)


def _letter(picture: Picture, x: int, y: int, letter: str, size: int) -> None:
    ink = _glyph(letter, size, picture.rng.choice((-12, -6, 0, 6, 12)))
    picture.image.paste(_ink(picture.rng), (x, y), ink)


@cache
def _glyph(letter: str, size: int, turn: int) -> Image.Image:
    """An ink mask of the letter in Pillow's own font, cropped and turned."""
    mask = Image.new("L", (2 * size, 2 * size))
    ImageDraw.Draw(mask).text((size // 2, size // 4), letter, 255, font=_font(size))
    turned = mask.rotate(turn, Image.Resampling.BILINEAR)
    return turned.crop(turned.getbbox())


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


@cache
def _outline(shape: str) -> tuple[tuple[float, float], ...]:
    """The shape's corners around the origin; all shapes cover about the same area."""
    if shape == "square":
        return ((-0.78, -0.78), (0.78, -0.78), (0.78, 0.78), (-0.78, 0.78))
    if shape == "triangle":
        return tuple((1.05 * sin(turn), -1.05 * cos(turn)) for turn in (0, 2 * pi / 3, 4 * pi / 3))
    if shape == "star":
        radii = (1.1, 0.5)
        return tuple(
            (radii[i % 2] * sin(pi * i / 5), -radii[i % 2] * cos(pi * i / 5)) for i in range(10)
        )
    if shape == "cross":
        a, b = 0.36, 1.0
        quarter = ((-a, -b), (a, -b), (a, -a))
        return tuple(
            (x * cos(t) - y * sin(t), x * sin(t) + y * cos(t))
            for t in (0, pi / 2, pi, 3 * pi / 2)
            for x, y in quarter
        )
    if shape == "hourglass":
        return ((-0.8, -0.95), (0.8, -0.95), (0.12, 0.0), (0.8, 0.95), (-0.8, 0.95), (-0.12, 0.0))
    return tuple((0.88 * sin(pi * i / 12), 0.88 * cos(pi * i / 12)) for i in range(24))


def _shape_mask(shape: str, size: int, rng: Random) -> Image.Image:
    """Where the shape covers a `size` x `size` tile, at a random turn and scale."""
    turn, scale = rng.random() * 2 * pi, rng.uniform(0.8, 0.95) * size / 2
    c, s, centre = scale * cos(turn), scale * sin(turn), (size - 1) / 2
    mask = Image.new("L", (size, size))
    corners = [(centre + c * x - s * y, centre + s * x + c * y) for x, y in _outline(shape)]
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    return mask


def _pattern(pattern: str, mean: Colour, size: int, rng: Random) -> Image.Image:
    """A tile of the pattern in two tones of the same mean; a solid one has the mean alone."""
    tone = np.asarray(mean, np.float32)
    swing = CONTRAST * np.minimum(tone + 60, 315 - tone) * 0.75
    grid = _grids(pattern)[rng.randrange(4)][:size, :size, None]
    return Image.fromarray(np.clip(tone + grid * swing, 0, 255).astype(np.uint8))


@cache
def _grids(pattern: str) -> list[npt.NDArray[np.float32]]:
    """The four phases of a pattern: +1 light, -1 dark (dots: fewer and darker), mean 0."""
    y, x = np.mgrid[0:CELL, 0:CELL]
    grids: list[npt.NDArray[np.float32]] = []
    for phase in range(4):
        u, v = y + phase, x + phase // 2
        if pattern == "solid":
            grid = np.zeros((CELL, CELL))
        elif pattern == "striped":
            grid = np.where(u % 4 < 2, 1.0, -1.0)
        elif pattern == "checked":
            grid = np.where((u // 3 + v // 3) % 2 == 0, 1.0, -1.0)
        else:
            grid = np.where((u % 4 < 2) & (v % 4 < 2), -1.5, 0.5)
        grids.append(grid.astype(np.float32))
    return grids


def _vary(tone: Colour, rng: Random) -> Colour:
    return tuple(min(250, max(5, value + rng.randint(-14, 14))) for value in tone)


def _ink(rng: Random) -> Colour:
    return tuple(rng.randint(0, 70) for _ in range(3))


_DRAWERS = {"objects": _object, "chart": _bar, "document": _field, "text": _text}
