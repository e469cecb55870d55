"""Finds things and bars on a page of the drawn world: where each is, and how many dots it has."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from ablate.annotators._cells import Cell, CellAnnotator, cell_words
from ablate.data.world.scenes import DOTS

TEMPLATE = "{text}"  # llama-micro has no words for more
TOKENS = 48


class MicroDetector(CellAnnotator):
    """`eva02-micro`, and a head for what it was trained for: things, and the dots on them."""

    encoder: ClassVar[str] = "eva02-micro@128"
    head: ClassVar[str] = "micro-detector"
    attributes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "kind": ("nothing", "number", "dots", "bar"),
        "dots": DOTS,
    }

    def say(self, cells: Sequence[Cell]) -> str:
        return " ".join(
            f"{cell_words(number)} {text}"
            for number, cell in enumerate(cells)
            if (text := _text(cell))
        )


def _text(cell: Cell) -> str:
    match cell["kind"]:
        case "number":
            return "thing"
        case "dots":
            return f"thing {cell['dots']} dots"
        case "bar":
            return "bar"
    return ""
