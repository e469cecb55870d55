"""A table frame as Markdown, CSV, LaTeX (booktabs), JSON or HTML.

CSV and JSON keep a column for every number, exact; the others round, all to the same digits, and
show an interval beside its number, `61.2 [58.9, 63.4]`, and a mark behind it, `681.5*`. Notes stand
below the table, in CSV as lines that start with `#`, in JSON beside its `rows`. Why a candidate
failed, and what its fusion says of itself, are columns of CSV and JSON, and elsewhere notes.
Everything a study's author or a model wrote is escaped.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from html import escape
from typing import Any

import pandas as pd

from ablate.reports.frame import (
    COLUMNS,
    LEAST_P,
    P_VALUES,
    SIGNED,
    digits,
    plain,
    plain_values,
    records,
)

_SPACES = re.compile(r"\s+")
FORMATS = ("md", "csv", "latex", "json", "html")
_LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def render(frame: pd.DataFrame, form: str, caption: str = "", notes: Sequence[str] = ()) -> str:
    """The frame in one of `FORMATS`, ending in a newline."""
    makers = {"md": markdown, "csv": to_csv, "latex": latex, "json": to_json, "html": html}
    return makers[form](frame, caption, notes)


def number(value: Any, column: str) -> str:
    """One cell as shown to people: fixed digits, a sign for differences, empty when unknown.

    A small p is shown as the least there is; there is no minus zero.
    """
    if value is None:
        return ""
    if isinstance(value, str | bool):
        return str(value)
    if column in P_VALUES:
        value = max(value, LEAST_P)
    return format(round(float(value), digits(column)) + 0.0, _spec(column))


@cache
def _spec(column: str) -> str:
    """How `format` shows a column's numbers."""
    sign = "+" if column.removesuffix("_low").removesuffix("_high") in SIGNED else ""
    return f"{sign}.{digits(column)}f"


def markdown(frame: pd.DataFrame, caption: str = "", notes: Sequence[str] = ()) -> str:
    """A pipe table, padded so that it also reads well in a terminal."""
    heads, rows = shown(frame)
    rows = [[_one_line(cell).replace("|", "\\|") for cell in row] for row in rows]
    text = text_columns(frame)
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        padded = [
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(cells, widths, text, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * max(width, 3) if left else "-" * (max(width, 3) - 1) + ":"
        for width, left in zip(widths, text, strict=True)
    ]
    table = [line(heads), f"| {' | '.join(rule)} |", *map(line, rows)]
    why = [re.sub(r"([<`\[])", r"\\\1", line) for line in remarks(frame)]
    below = [line for note in (*why, *notes) for line in ("", _one_line(note))]
    return "\n".join(([_one_line(caption), ""] if caption else []) + table + below) + "\n"


def to_csv(frame: pd.DataFrame, caption: str = "", notes: Sequence[str] = ()) -> str:
    """Plain CSV, a column for every number, headed by the frame's own column names.

    Numbers are exact. Words that a spreadsheet would take for a formula begin with an apostrophe
    (OWASP, CSV Injection), which it does not show.
    """
    return "".join(csv_parts([frame], notes))


def csv_parts(frames: Iterable[pd.DataFrame], notes: Sequence[str] = ()) -> Iterator[str]:
    """The CSV of frames with the same columns, one below the other, some rows at a time."""
    for number, frame in enumerate(frames):
        if not number:
            yield _csv([frame.columns.map(str)])
        for start in range(0, len(frame), ROWS):
            yield _csv(plain(frame[start : start + ROWS]).itertuples(index=False, name=None))
    yield "".join(f"# {_one_line(note)}\n" for note in notes)


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    """Rows as lines of CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([_harmless(value) for value in row] for row in rows)
    return buffer.getvalue()


ROWS = 1024
"""Rows that are taken out of a frame at once, to bound memory."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _harmless(value: Any) -> Any:
    """A value as CSV holds it: words that begin as a formula does behind an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def latex(frame: pd.DataFrame, caption: str = "", notes: Sequence[str] = ()) -> str:
    r"""A booktabs table: a document as it is, and in another document a table to `\input`.

    One that is wider than a line is scaled down to it. The highest of the scores is bold; the label
    is made of the caption.
    """
    heads, rows = shown(frame)
    text, best = text_columns(frame), _best(frame)

    def line(cells: list[str], row: int = -1) -> str:
        texts = [
            _tex(cell) if words else re.sub(r"-(?=\d)", "$-$", _tex(cell))
            for cell, words in zip(cells, text, strict=True)
        ]
        texts = [
            rf"\textbf{{{cell}}}" if (row, column) in best else cell
            for column, cell in enumerate(texts)
        ]
        return f"  {' & '.join(texts)} \\\\"

    align = "".join("l" if words else "r" for words in text)
    body = [*_ALONE, r"\begin{table}", r"\centering\small\sloppy\setlength{\tabcolsep}{4pt}"]
    body += [rf"\caption{{{_tex(caption)}}}\label{{{_label(caption)}}}"] if caption else []
    body += [
        rf"\setbox0=\hbox{{\begin{{tabular}}{{{align}}}",
        r"\toprule",
        line(heads),
        r"\midrule",
    ]
    body += [*map(line, rows, range(len(rows))), r"\bottomrule", r"\end{tabular}}\leavevmode"]
    body += [r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\box0}\else\box0\fi"]
    below = [*remarks(frame), *notes]
    body += [r"\par\smallskip\raggedright\footnotesize"] if below else []
    body += [rf"{_tex(note)}\par" for note in below]
    return "\n".join([*body, r"\end{table}", r"\ablateend"]) + "\n"


def _best(frame: pd.DataFrame) -> set[tuple[int, int]]:
    """Row and column of the highest of each column of scores, as shown, where they differ."""
    best = set()
    for column, name in enumerate(_names(frame)):
        values = [number(value, name) for value in plain_values(frame[name])]
        scores = name == "score" or (name not in COLUMNS and not text_columns(frame)[column])
        numbers = {float(value) for value in values if value} if scores else set()
        if len(numbers) > 1:
            top = {
                row for row, value in enumerate(values) if value and float(value) == max(numbers)
            }
            best |= {(row, column) for row in top}
    return best


def _label(caption: str) -> str:
    """`tab:` and the first words of a caption."""
    words = re.findall(r"[a-z0-9]+", caption.partition("(")[0].lower())
    return f"tab:{'-'.join(words)[:60].rstrip('-') or 'table'}"


_ALONE = (
    r"% Compiles as it is; \input it into a document that has \usepackage{booktabs,graphicx}.",
    r"\expandafter\ifx\csname @nodocument\endcsname\relax\def\ablateend{}\else",
    r"\documentclass{article}\usepackage{booktabs,graphicx}",
    r"\usepackage[landscape,margin=1cm]{geometry}\pagestyle{empty}",
    r"\def\ablateend{\end{document}}\begin{document}\fi",
)


def to_json(frame: pd.DataFrame, caption: str = "", notes: Sequence[str] = ()) -> str:
    """A JSON object of `rows` and `notes`; numbers are exact, unknown ones are null."""
    rows = [
        _indented(record)
        for start in range(0, len(frame), ROWS)
        for record in records(frame[start : start + ROWS])
    ]
    table = ",\n  ".join(rows)
    table = f"[\n  {table}\n ]" if rows else "[]"
    return f'{{\n "rows": {table},\n "notes": {_indented(list(notes), 1)}\n}}\n'


def _indented(value: Any, depth: int = 2) -> str:
    """JSON in lines, all but the first of which stand so deep."""
    lines = json.dumps(value, indent=1, ensure_ascii=False)
    return lines.replace("\n", "\n" + " " * depth)


def html(frame: pd.DataFrame, caption: str = "", notes: Sequence[str] = ()) -> str:
    """A bare `<table>` with a caption and column headings, and a paragraph a note."""
    heads, rows = shown(frame)
    below = (*remarks(frame), *notes)
    lines = ["<table>", f"<caption>{escape(caption)}</caption>" if caption else ""]
    lines += ["<thead><tr>", *(f'<th scope="col">{escape(head)}</th>' for head in heads)]
    lines += ["</tr></thead>", "<tbody>"]
    lines += [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    lines += ["</tbody>", "</table>", *(f"<p>{escape(note)}</p>" for note in below)]
    return "\n".join(line for line in lines if line) + "\n"


def remarks(frame: pd.DataFrame) -> list[str]:
    """Why candidates failed, then notes on them, a line each, where there is no column for that."""
    return [
        f"{heading.format(name)} {remark}"
        for column, heading in (("reason", "Failed: {},"), ("note", "{}:"))
        if column in frame
        for name, remark in zip(frame["candidate"], plain_values(frame[column]), strict=True)
        if remark
    ]


def shown(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and cells with each interval and each mark folded into the number it belongs to."""
    names = _names(frame)
    heads_here = frame.attrs.get("heads", {})
    heads = [heads_here.get(name) or COLUMNS.get(name, (name, 1))[0] for name in names]
    columns = [_cells(frame, name) for name in names]
    return heads, [list(row) for row in zip(*columns, strict=True)]


def _cells(frame: pd.DataFrame, name: str) -> list[str]:
    """A column with its intervals and marks."""
    ends = f"{name}_low", f"{name}_high"
    cells = [number(value, name) for value in plain_values(frame[name])]
    if all(end in frame for end in ends):
        pairs = zip(
            *([number(value, end) for value in plain_values(frame[end])] for end in ends),
            strict=True,
        )
        cells = [
            f"{cell} [{low}, {high}]" if low and high else cell
            for cell, (low, high) in zip(cells, pairs, strict=True)
        ]
    if f"{name}_mark" in frame:
        marks = plain_values(frame[f"{name}_mark"])
        cells = [cell + (mark or "") for cell, mark in zip(cells, marks, strict=True)]
    return cells


def _names(frame: pd.DataFrame) -> list[str]:
    """The columns that are shown on their own: neither marks and the two ends of an interval, nor
    `remarks`, nor what is for machines, from `key` on."""
    every = [str(name) for name in frame.columns]
    every = every[: every.index("key")] if "key" in every else every
    ends = {f"{name}{end}" for name in every for end in ("_low", "_high", "_mark")}
    return [name for name in every if name not in {*ends, "reason", "note"}]


def text_columns(frame: pd.DataFrame) -> list[bool]:
    """Which shown columns hold words (set to the left) rather than numbers."""
    return [any(isinstance(value, str) for value in frame[name]) for name in _names(frame)]


def _one_line(text: str) -> str:
    return _SPACES.sub(" ", text)


def _tex(text: str) -> str:
    """What pdflatex prints as it is written; by its number what its fonts do not have."""
    escaped = "".join(_LATEX.get(char) or _printed(char) for char in _one_line(text))
    return re.sub(r"(?<=[-'`,?!])(?=[-'`,])", "{}", escaped)  # two hyphens are no dash


def _printed(char: str) -> str:
    accented = "\u00c0" <= char <= "\u00ff" and char not in "\u00d0\u00de\u00f0\u00fe"
    return char if " " <= char <= "~" or accented else f"[U+{ord(char):04X}]"
