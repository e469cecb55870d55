"""Every table of a report: as many cells as headings, each figure under its own."""

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from opened import piece
from synthetic import ROUNDS, STUDY, Run, study
from test_against import EAGLE

from ablate.reports.formats import number
from ablate.reports.load import load
from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.pages.benchmarks import Benchmarks
from ablate.reports.pages.common import spanned
from ablate.reports.site import build


class Tables(HTMLParser):
    """The tables of a page as rows of texts, a cell that spans columns or rows in each of them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.tables: list[list[list[str]]] = []
        self.heads: list[int] = []
        self._down: dict[int, tuple[int, str]] = {}
        self._cell: list[str] | None = None
        self._span = (1, 1)
        self._in_head = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "table":
            self.tables.append([])
            self.heads.append(0)
            self._down = {}
        elif tag == "thead":
            self._in_head = True
        elif tag == "tr":
            self.tables[-1].append([])
            self.heads[-1] += self._in_head
            self._fill()
        elif tag in ("td", "th"):
            self._cell = []
            self._span = int(values.get("colspan") or 1), int(values.get("rowspan") or 1)

    def handle_endtag(self, tag: str) -> None:
        if tag == "thead":
            self._in_head = False
        elif tag in ("td", "th") and self._cell is not None:
            text, row = " ".join("".join(self._cell).split()), self.tables[-1][-1]
            across, down = self._span
            for _ in range(across):
                if down > 1:
                    self._down[len(row)] = down - 1, text
                row.append(text)
            self._cell = None
            self._fill()

    def _fill(self) -> None:
        """Put in what stands here from rows above."""
        row = self.tables[-1][-1]
        while len(row) in self._down:
            left, text = self._down.pop(place := len(row))
            row.append(text)
            if left > 1:
                self._down[place + 1000 * left] = left - 1, text  # three rows: none has them

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def named(self) -> list[list[dict[str, str]]]:
        """The rows below the headings, each by them; of two rows of headings by the lower."""
        found = []
        for rows, heads in zip(self.tables, self.heads, strict=True):
            found.append([dict(zip(rows[heads - 1], row, strict=True)) for row in rows[heads:]])
        return found


def headed(text: str, study: StudyResult, candidates: Sequence[CandidateResult]) -> CandidateResult:
    """Whose row a heading begins: behind the label stand what a narrow page shows of it, and why it
    failed."""
    labels = {study.label(one): one for one in candidates}
    return labels[max((one for one in labels if f"{text} ".startswith(f"{one} ")), key=len)]


KINDS = ("greedy", "arms", "eagle", "greedy seeds", "running")


@pytest.fixture(scope="module", params=KINDS)
def built(
    request: pytest.FixtureRequest,
    greedy: StudyResult,
    site: Path,
    arms: StudyResult,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[StudyResult, Path]:
    """Studies of every kind with their reports: rounds with a failed candidate, arms of two seeds,
    against published numbers, rounds of two seeds, one that has just begun."""
    if request.param == "greedy":
        return greedy, site
    folder = tmp_path_factory.mktemp("cells")
    if request.param == "arms":
        found = arms
    else:
        text, last = {
            "eagle": (EAGLE, 1),
            "greedy seeds": (STUDY + "seeds: [0, 1]\n" + ROUNDS, 2),
            "running": (STUDY + ROUNDS, 1),
        }[request.param]
        subject = study(folder, text)
        Run(folder, subject, images=10).rounds(last)
        found = load(subject, folder)
    return found, build(found, folder / "report").parent


def test_every_table_has_as_many_cells_as_headings(built: tuple[StudyResult, Path]) -> None:
    _, folder = built
    seen = 0
    for path in sorted(folder.rglob("*.html")):
        page = Tables(path)
        for rows, heads in zip(page.tables, page.heads, strict=True):
            widths = {len(row) for row in rows}
            assert len(widths) == 1, f"{path.name}: {rows[heads - 1]} over {rows[heads]}"
            assert heads in (1, 2)
            assert len(rows) > heads
            seen += 1
    assert seen > 10


def test_each_figure_of_a_candidate_stands_under_its_own_heading(
    built: tuple[StudyResult, Path],
) -> None:
    found, folder = built
    scored = Benchmarks(found)
    for place, one in enumerate(found.candidates, start=1):
        page = Tables(folder / "candidates" / f"{place:03d}.html")
        tables = [rows for rows in page.named() if rows and "Benchmark" in rows[0]]
        assert len(tables) == (one in scored)
        for row, own in zip(tables[0] if tables else [], scored.get(one, ()), strict=True):
            assert row["Benchmark"] == found.tasks[own.task]
            assert row["Questions"] == str(own.questions)
            assert row["Score"] == spanned(one.scores[own.task], own.score, "score")
            assert ("Fixed" in row) == (own.fixed is not None)
            if own.fixed is not None:
                assert own.delta is not None
                assert row["Difference"] == spanned(own.delta.estimate, own.delta, "delta")
                assert (row["Fixed"], row["Broken"]) == (str(own.fixed), str(own.broken))


def test_each_figure_of_a_round_stands_under_its_own_heading(
    built: tuple[StudyResult, Path],
) -> None:
    found, folder = built
    tables = Tables(folder / "results.html").named()
    for turn, rows in zip(found.rounds, tables, strict=False):
        assert len(rows) == len(turn.candidates)
        for row in rows:
            one = headed(next(iter(row.values())), found, turn.candidates)
            assert row["Standing"].startswith(one.status if one.status != "done" else "")
            assert row["Score"].startswith(number(one.composite, "score"))
            for task, title in found.tasks.items():
                assert row[title] == number(one.scores.get(task), title)
            seconds = sum(step.seconds for step in one.steps)
            if one.status == "done":
                assert row["Seconds"] == f"{seconds:.0f}"
            delta = found.scoreboard.difference(one, found.reference(one))
            held = next(text for head, text in row.items() if head.startswith("Against"))
            assert held.startswith(number(delta.estimate, "delta") if delta else "")


def test_of_several_seeds_questions_are_counted_once_and_the_spread_is_shown(
    arms: StudyResult, tmp_path: Path
) -> None:
    folder = build(arms, tmp_path / "report").parent
    index = " ".join(folder.joinpath("index.html").read_text(encoding="utf-8").split())
    assert "<dt>Questions</dt><dd>80<small>on 10 held-out images" in index
    rows, *_ = Tables(folder / "results.html").named()
    for row in rows:
        one = headed(row["Arm"], arms, arms.candidates)
        assert row["Score"].endswith(f"SD {one.spread:.1f}")


def test_answers_of_several_seeds_have_each_question_once_and_a_column_a_seed(
    arms: StudyResult, tmp_path: Path
) -> None:
    folder = build(arms, tmp_path / "report").parent
    asked = piece(folder, "questions")
    assert len(set(zip(asked["task"], asked["id"], strict=True))) == len(asked["id"]) == 80
    assert asked["candidates"][:2] == ["channel concat (seed 0)", "channel concat (seed 1)"]
    for place, run in enumerate(run for one in arms.candidates for run in one.runs):
        given = piece(folder, f"answers/{place + 1}")
        rows = {(row["task"], row["id"]): row for row in run.rows}
        told = [rows[key] for key in zip(asked["task"], asked["id"], strict=True)]
        assert given["answer"] == [row["answer"] for row in told]
        assert given["score"] == [row["score"] for row in told]
    one = arms.candidates[2]
    page = (folder / "candidates" / "003.html").read_text(encoding="utf-8")
    assert f"What differs from {arms.base.name}" in page
    assert "a=0" in page
    assert "b=4" in page
    assert one.name in page
