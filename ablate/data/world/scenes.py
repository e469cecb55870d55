"""What a scene holds, before it is drawn: a 4 x 4 grid of cells with named attributes.

Four kinds: `objects` (things of unique colour), `chart` (bars of unique colour), `document`
(letter key and two-digit value a cell) and `text` (one three-letter word a row).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

GRID = 4
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SHAPES = ("circle", "square", "triangle", "star", "cross", "hourglass")
PATTERNS = ("solid", "striped", "dotted", "checked")
DOTS = ("one", "two", "three", "four")
DIGITS = tuple("0123456789")
LEVELS = tuple("123456")
LETTERS = tuple("ACEHKLMPRSTX")
KINDS = ("objects", "chart", "document", "text")
NUMBERS = ("zero", *DOTS, "five", "six")

Position = tuple[int, int]


@dataclass(frozen=True)
class Scene:
    """A kind, and what its filled cells hold: (row, column) -> attribute -> word, row by row."""

    kind: str
    cells: Mapping[Position, Mapping[str, str]]


def position_words(position: Position) -> tuple[str, str]:
    """`(0, 2)` -> `("r1", "c3")`."""
    return f"r{position[0] + 1}", f"c{position[1] + 1}"


def sample_scene(kind: str, rng: Random, most: int = GRID * GRID) -> Scene:
    """A random scene of the kind; `most` caps the filled cells (easy scenes of a curriculum)."""
    return Scene(kind, dict(sorted(_SAMPLERS[kind](rng, most).items())))


def outermost(scene: Scene) -> dict[str, Position]:
    """Direction word -> the one cell that lies outermost there; ties are left out."""
    by_word = {}
    for word, axis, sign in (
        ("leftmost", 1, 1),
        ("rightmost", 1, -1),
        ("topmost", 0, 1),
        ("lowest", 0, -1),
    ):
        best = min(sign * position[axis] for position in scene.cells)
        places = [position for position in scene.cells if sign * position[axis] == best]
        if len(places) == 1:
            by_word[word] = places[0]
    return by_word


def _positions(rng: Random, count: int) -> list[Position]:
    return [divmod(index, GRID) for index in rng.sample(range(GRID * GRID), count)]


def _objects(rng: Random, most: int) -> dict[Position, dict[str, str]]:
    count = min(rng.randint(4, 6), max(most, 2))
    while True:  # some direction must have a single outermost thing to ask for
        places = _positions(rng, count)
        if outermost(Scene("objects", {position: {} for position in places})):
            break
    cells = {}
    for index, (position, colour) in enumerate(
        zip(places, rng.sample(COLOURS, count), strict=True)
    ):
        tag = {"digit": rng.choice(DIGITS)} if index % 2 else {"dots": rng.choice(DOTS)}
        cells[position] = {
            "colour": colour,
            "pattern": rng.choice(PATTERNS),
            "shape": rng.choice(SHAPES),
            **tag,
        }
    return cells


def _chart(rng: Random, most: int) -> dict[Position, dict[str, str]]:
    count = min(rng.randint(4, 6), max(most, 2))
    colours = rng.sample(COLOURS, count)
    return {
        position: {"colour": colour, "kind": "bar", "level": rng.choice(LEVELS)}
        for position, colour in zip(_positions(rng, count), colours, strict=True)
    }


def _document(rng: Random, most: int) -> dict[Position, dict[str, str]]:
    count = min(rng.randint(5, 8), max(most, 2))
    letters = rng.sample(LETTERS, count)
    return {
        position: {"letter": letter, "tens": rng.choice(DIGITS[1:]), "ones": rng.choice(DIGITS)}
        for position, letter in zip(_positions(rng, count), letters, strict=True)
    }


def _text(rng: Random, most: int) -> dict[Position, dict[str, str]]:
    rows = rng.sample(range(GRID), GRID if most > 6 else 2)
    return {(row, column): {"letter": rng.choice(LETTERS)} for row in rows for column in range(3)}


_SAMPLERS: dict[str, Callable[[Random, int], dict[Position, dict[str, str]]]] = {
    "objects": _objects,
    "chart": _chart,
    "document": _document,
    "text": _text,
}
