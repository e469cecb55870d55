"""The published numbers are whole, say where they are from, and add up as their sources say."""

import copy
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from synthetic import ARMS, STUDY, study

from ablate.catalog import published, suites
from ablate.errors import UserError

ROOT = Path(__file__).parents[2]
RAW = json.loads((ROOT / "reports" / "published.json").read_text(encoding="utf-8"))


def share(table: published.Table, row: str, column: str) -> float | None:
    """A cell in percent of the best there can be."""
    value, full = table.cell(row, column), published.book().columns[column].full
    return None if value is None or full is None else 100.0 * value / full


def test_every_table_names_its_source_version_and_trust() -> None:
    book = published.book()
    assert len(book.tables) >= 15
    for table in book.tables:
        assert table.version
        assert table.rows
        assert book.sources[table.source].what
        if book.sources[table.source].trust == "secondary" and table.id.startswith("T"):
            assert table.caution or table.missing or table.suspect


def test_scores_lie_within_their_scale() -> None:
    for table in published.book().tables:
        for row in table.rows:
            for column in table.columns:
                of_full = share(table, row.name, column)
                assert of_full is None or 0.0 < of_full < 100.0, (table.id, row.name, column)


def test_columns_are_benchmarks_that_a_suite_asks() -> None:
    asked = {task.benchmark for task in suites.resolve("eagle-judged").tasks}
    named = {one.benchmark for one in published.book().columns.values() if one.benchmark}
    assert named == asked


def parts_of(table: published.Table, column: str) -> list[str] | None:
    """The table's own columns that the average is over; None if it lacks one."""
    columns = published.book().columns
    there = {columns[name].benchmark or name: name for name in table.columns}
    parts = [there.get(columns[part].benchmark or part) for part in columns[column].mean_of]
    return [part for part in parts if part] if parts and all(parts) else None


AVERAGES = [
    (table, row.name, column)
    for table in published.book().tables
    for row in table.rows
    for column in table.columns
    if parts_of(table, column)
]


@pytest.mark.parametrize(("table", "row", "column"), AVERAGES)
def test_published_averages_are_the_means_they_are_said_to_be(
    table: published.Table, row: str, column: str
) -> None:
    parts = [share(table, row, part) for part in parts_of(table, column) or ()]
    kept = [part for part in parts if part is not None]
    assert len(kept) == len(parts)
    assert share(table, row, column) == pytest.approx(sum(kept) / len(kept), abs=0.16)


def test_there_are_averages_to_check() -> None:
    checked = {(table.id, column) for table, _, column in AVERAGES}
    assert {column for name, column in checked if name == "T_released_cambrian"} == {
        "Knowledge", "General", "OCR and chart", "Vision-centric",
    }  # fmt: skip
    assert {("C_single", "Average"), ("C_ensemble", "Average")} <= checked


def test_the_gains_are_those_the_sources_name() -> None:
    rounds, prealign = published.table("F4_roundrobin"), published.table("T5_prealign")
    best = [row.cells[0] or 0.0 for row in rounds.rows]
    steps = [after - before for before, after in pairwise(best)]
    assert steps == pytest.approx([11.0, 9.2, 3.9, 2.5, -10.3])
    frozen, aligned, unfrozen, both = (row.cells[0] or 0.0 for row in prealign.rows)
    gains = (unfrozen - frozen, aligned - frozen, both - unfrozen, both - frozen)
    assert gains == pytest.approx((29.5, 18.1, 4.7, 34.2))


def test_one_number_has_one_value_in_all_tables() -> None:
    concat = published.table("T4_fusion").cell("Channel Concat", "Avg")
    assert concat == published.table("T5_prealign").cell("unfrozen", "Avg")
    assert concat == published.table("F4_roundrobin").cell("X2", "Avg")
    clip = published.table("T2_clip").rows[0].cells[0]
    assert clip == published.table("F4_roundrobin").cell("X1", "Avg")


def test_doubtful_cells_say_why() -> None:
    fusion = published.table("T4_fusion")
    assert "misread" in fusion.doubt("Sequence Append", "Avg")
    assert fusion.doubt("Channel Concat", "Avg") == ""


def test_a_table_or_row_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no published table 'T4_fuse'; did you mean 'T4_fus"):
        published.table("T4_fuse")
    with pytest.raises(UserError, match="T4_fusion has no row 'Concat'; did you mean"):
        published.table("T4_fusion").row("Concat")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: raw["tables"][1]["rows"][0]["cells"].pop(), "T4_fusion: .*: 2 cells"),
        (lambda raw: raw["tables"][0].update(source="memory"), "'memory' is not there"),
        (lambda raw: raw["tables"][0].update(columns=["Avgg"]), "'Avgg' is not there"),
        (lambda raw: raw["tables"].append(raw["tables"][0]), "a name comes twice"),
        (lambda raw: raw["tables"][0].update(trust=1), "Extra inputs"),
        (lambda raw: raw["columns"]["Avg"].update(full=-1), "greater than 0"),
        (lambda raw: raw["sources"]["notes"].update(trust="hearsay"), "primary"),
    ],
)
def test_a_mistake_in_the_file_is_found(damage: Callable[[Any], None], said: str) -> None:
    raw = copy.deepcopy(RAW)
    damage(raw)
    with pytest.raises((ValidationError, UserError), match=said):
        published.Book.model_validate(raw)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("published: T4_fusion", "published: T4", "published: no published table 'T4'"),
        ("Channel Concat", "Channels", "explore.arms.0.published: T4_fusion has no row 'Channels'"),
        (
            "published: T4_fusion",
            "",
            "explore.arms.0.published: 'Channel Concat' is a row, but",
        ),
    ],
)
def test_a_study_that_names_what_is_not_published_is_refused_with_its_line(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    with pytest.raises(UserError) as caught:
        study(tmp_path, STUDY + ARMS.replace(before, after, 1))
    assert said in str(caught.value)
    assert "greedy.yaml:" in str(caught.value)
