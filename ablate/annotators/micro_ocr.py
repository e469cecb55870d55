"""Reads the characters on a page of the drawn world: words row by row, keys, values, digits."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from ablate.annotators._cells import Cell, CellAnnotator, cell_words
from ablate.data.world.scenes import DIGITS, GRID, LETTERS

TEMPLATE = "{text}"  # llama-micro has no words for more
TOKENS = 64


class MicroOcr(CellAnnotator):
    """`pix2struct-micro`, and a head for the task that it was trained for: which characters."""

    encoder: ClassVar[str] = "pix2struct-micro@128"
    head: ClassVar[str] = "micro-ocr"
    attributes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "kind": ("nothing", "number", "field", "letter"),
        "digit": DIGITS,
        "letter": LETTERS,
        "tens": DIGITS,
        "ones": DIGITS,
    }

    def say(self, cells: Sequence[Cell]) -> str:
        rows = [range(start, start + GRID) for start in range(0, GRID * GRID, GRID)]
        return " ".join(filter(None, (self._row(row, cells) for row in rows)))

    def _row(self, row: range, cells: Sequence[Cell]) -> str:
        """`r2 CAT` where letters stand alone; else each text behind its place, `r2 c1 A 47`."""
        kinds = [cells[cell]["kind"] for cell in row]
        if "letter" in kinds:
            word = (cells[cell]["letter"] for cell in row if cells[cell]["kind"] == "letter")
            return f"r{row.start // GRID + 1} {''.join(word)}"
        texts = {cell: _text(cells[cell]) for cell in row}
        return " ".join(f"{cell_words(cell)} {text}" for cell, text in texts.items() if text)


def _text(cell: Cell) -> str:
    match cell["kind"]:
        case "number":
            return cell["digit"]
        case "field":
            return f"{cell['letter']} {cell['tens']}{cell['ones']}"
    return ""
