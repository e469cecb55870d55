"""Questions on a scene, in eight families that mirror the paper's benchmarks, and its caption.

Every answer is found in one cell (or by counting cells). A thing is named by what the base encoder
sees, its colour or place; what is asked is mostly a detail that averages out at the base's 32 px.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from ablate.data.world.scenes import (
    COLOURS,
    GRID,
    NUMBERS,
    PATTERNS,
    SHAPES,
    Position,
    Scene,
    outermost,
    position_words,
)

CAPTION_PROMPT = "describe the image"
FAMILIES = {
    "abl_gqa": "objects",
    "abl_vqa": "objects",
    "abl_textvqa": "objects",
    "abl_count": "objects",
    "abl_pope": "objects",
    "abl_chartqa": "chart",
    "abl_docvqa": "document",
    "abl_ocr": "text",
}  # family -> kind of scene


@dataclass(frozen=True)
class Question:
    """One question of a family, with its answer."""

    family: str
    question: str
    answer: str


def ask(scene: Scene, family: str, rng: Random, count: int = 1) -> list[Question]:
    """Up to `count` different questions of the family on the scene, in random order."""
    answers: dict[str, str] = {}
    repeats = 0
    while len(answers) < count and repeats < 60:  # so many repeats: there are no more questions
        question, answer = _ASKERS[family](scene, rng)
        repeats = repeats + 1 if question in answers else 0
        answers.setdefault(question, answer)
    return [Question(family, question, answer) for question, answer in answers.items()]


def dialogue(scene: Scene, rng: Random, turns: int) -> list[Question]:
    """Up to `turns` different questions on the scene, spread over the families its kind has."""
    families = [family for family, kind in FAMILIES.items() if kind == scene.kind]
    share = [len(range(index, turns, len(families))) for index in range(len(families))]
    rng.shuffle(families)
    asked = [
        question
        for family, count in zip(families, share, strict=True)
        for question in ask(scene, family, rng, count)
    ]
    rng.shuffle(asked)
    return asked


def caption(scene: Scene) -> str:
    """All filled cells in raster order, each its place and every attribute it has."""
    return " ".join(
        " ".join(describe_cell(position, cell).values()) for position, cell in scene.cells.items()
    )


def describe_cell(position: Position, cell: Mapping[str, str]) -> dict[str, str]:
    """What a caption says of a cell: attribute -> word, its place first; a value is one word."""
    row, column = position_words(position)
    words = {"row": row, "column": column, **cell}
    if "tens" in cell:
        del words["tens"], words["ones"]
        words["value"] = cell["tens"] + cell["ones"]
    return words


def _having(scene: Scene, attribute: str, rng: Random) -> tuple[str, str]:
    """(colour, value) of a random cell that has the attribute."""
    cell = rng.choice([cell for cell in scene.cells.values() if attribute in cell])
    return cell["colour"], cell[attribute]


def _gqa(scene: Scene, rng: Random) -> tuple[str, str]:
    direction, position = rng.choice(sorted(outermost(scene).items()))
    attribute = "colour" if rng.random() < 0.4 else "shape"
    return f"what {attribute} is {direction}", scene.cells[position][attribute]


def _vqa(scene: Scene, rng: Random) -> tuple[str, str]:
    if rng.random() < 0.25:
        position = rng.choice(sorted(scene.cells))
        colour = scene.cells[position]["colour"]
        return "what colour is at {} {}".format(*position_words(position)), colour
    colour, pattern = _having(scene, "pattern", rng)
    return f"what pattern is the thing in {colour}", pattern


def _textvqa(scene: Scene, rng: Random) -> tuple[str, str]:
    colour, digit = _having(scene, "digit", rng)
    return f"what number is on the thing in {colour}", digit


def _count(scene: Scene, rng: Random) -> tuple[str, str]:
    if rng.random() < 0.3:
        return "how many things", NUMBERS[len(scene.cells)]
    colour, dots = _having(scene, "dots", rng)
    return f"how many dots on the thing in {colour}", dots


def _pope(scene: Scene, rng: Random) -> tuple[str, str]:
    true = rng.random() < 0.5
    about = rng.choices(("thing", "pattern", "shape"), (0.35, 0.4, 0.25))[0]
    if about == "thing":
        shown = {cell["colour"] for cell in scene.cells.values()}
        colour = rng.choice([colour for colour in COLOURS if (colour in shown) == true])
        return f"is there a thing in {colour}", "yes" if true else "no"
    colour, value = _having(scene, about, rng)
    if not true:
        choices = PATTERNS if about == "pattern" else SHAPES
        value = rng.choice([other for other in choices if other != value])
    noun = f"{value} thing" if about == "pattern" else value
    return f"is there a {noun} in {colour}", "yes" if true else "no"


def _chartqa(scene: Scene, rng: Random) -> tuple[str, str]:
    if rng.random() < 0.15:
        return "how many bars", NUMBERS[len(scene.cells)]
    colour, level = _having(scene, "level", rng)
    return f"what level is the bar in {colour}", level


def _docvqa(scene: Scene, rng: Random) -> tuple[str, str]:
    cell = rng.choice(list(scene.cells.values()))
    return f"what is the value of {cell['letter']}", cell["tens"] + cell["ones"]


def _ocr(scene: Scene, rng: Random) -> tuple[str, str]:
    row = rng.choice(sorted({row for row, _ in scene.cells}))
    letters = (scene.cells[row, column]["letter"] for column in range(GRID - 1))
    return f"what word is in r{row + 1}", "".join(letters)


_ASKERS: dict[str, Callable[[Scene, Random], tuple[str, str]]] = {
    "abl_gqa": _gqa,
    "abl_vqa": _vqa,
    "abl_textvqa": _textvqa,
    "abl_count": _count,
    "abl_pope": _pope,
    "abl_chartqa": _chartqa,
    "abl_docvqa": _docvqa,
    "abl_ocr": _ocr,
}
