"""The published numbers are whole, say where they are from, and add up as their sources say."""

import copy
import json
from collections import Counter
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
        if book.sources[table.source].trust == "secondary":
            assert table.caution


def test_scores_lie_within_their_scale() -> None:
    for table in published.book().tables:
        for row in table.rows:
            for column in table.columns:
                of_full = share(table, row.name, column)
                assert of_full is None or 0.0 < of_full < 100.0, (table.id, row.name, column)


def test_columns_are_benchmarks_that_a_suite_asks() -> None:
    asked = {
        task.benchmark for name in ("eagle", "eagle-judged") for task in suites.resolve(name).tasks
    }
    named = {one.benchmark for one in published.book().columns.values() if one.benchmark}
    assert named == asked


AVERAGES = [
    (table, row.name, column)
    for table in published.book().tables
    for row in table.rows
    for column in table.columns
    if table.parts(column) and table.printed(row.name, column) is not None
]


def deviation(table: published.Table, row: str, column: str) -> float:
    """Printed minus the mean of the row's own cells, in the published unit."""
    parts = [share(table, row, part) for part in table.parts(column)]
    full = published.book().columns[column].full or 0.0
    assert None not in parts
    return (table.printed(row, column) or 0.0) - full * sum(filter(None, parts)) / len(parts) / 100


@pytest.mark.parametrize(("table", "row", "column"), AVERAGES)
def test_published_averages_are_the_means_they_are_said_to_be(
    table: published.Table, row: str, column: str
) -> None:
    """Within 0.25: of 100, and of 1,000 for the paper's own average; but for a doubtful one."""
    assert (abs(deviation(table, row, column)) > 0.25) == ("mean" in table.doubt(row, column))


def test_there_are_averages_to_check() -> None:
    checked = {(table.id, column) for table, _, column in AVERAGES}
    assert {column for name, column in checked if name == "T_released_cambrian"} == {
        "Knowledge", "General", "OCR and chart", "Vision-centric",
    }  # fmt: skip
    assert {("C_single", "Average"), ("C_ensemble", "Average")} <= checked
    rows = [table.id for table, _, column in AVERAGES if column == "Avg"]
    assert Counter(rows) == {"F4_roundrobin": 11, "T3_experts": 10, "T4_fusion": 7, "T7_stages": 8}


def test_an_average_that_is_not_printed_is_computed_from_the_cells_of_its_row() -> None:
    table = published.table("F4_roundrobin")
    assert (table.printed("X1", "Avg"), table.cell("X1", "Avg")) == (None, 675.2)
    assert table.computed("X1", "Avg")
    assert not table.computed("X2", "Avg")
    assert table.cell("X2", "Avg, other rule") is None
    assert published.table("T5_prealign").parts("Avg") == []


def test_the_gains_are_those_the_paper_names() -> None:
    rounds, prealign = published.table("F4_roundrobin"), published.table("T5_prealign")
    best = [rounds.cell(f"X{n}", "Avg") or 0.0 for n in range(1, 7)]
    steps = [after - before for before, after in pairwise(best)]
    assert steps == pytest.approx([6.3, 9.2, 3.9, 2.5, -10.3])
    frozen, aligned, unfrozen, both = (row.cells[0] or 0.0 for row in prealign.rows[:4])
    gains = (unfrozen - frozen, aligned - frozen, both - unfrozen, both - frozen)
    assert gains == pytest.approx((29.5, 18.1, 4.7, 34.2))


def test_one_number_has_one_value_in_all_tables() -> None:
    rounds, fusion = published.table("F4_roundrobin"), published.table("T4_fusion")
    stages, clip = published.table("T7_stages"), published.table("T2_clip")
    experts = published.table("T3_experts")
    assert fusion.cell("Channel Concat", "Avg") == rounds.cell("X2", "Avg")
    assert published.table("T5_prealign").cell("unfrozen", "Avg") == rounds.cell("X2", "Avg")
    unfrozen = "CLIP at 448, positions interpolated, unfrozen"
    for column in published.book().columns["Avg"].mean_of:
        assert fusion.cell("Channel Concat", column) == rounds.cell("X2", column)
        assert fusion.cell("Channel Concat, with SAM", column) == rounds.cell("CL+CN+SA", column)
        assert clip.cell(unfrozen, column) == rounds.cell("X1", column)
        assert clip.cell(unfrozen, column) == experts.cell("CLIP, unfrozen", column)
        if column in stages.columns:
            one, other = stages.cell("1 epoch", column), rounds.cell("X5", column)
            assert one == pytest.approx(other, abs=0.11)  # AI2D: 72.8 and 72.9


def test_a_row_is_found_by_the_families_of_its_experts() -> None:
    table = published.table("F4_roundrobin")
    found = table.mixture(["sam", "convnext", "clip"])
    assert found is not None
    assert found.name == "CL+CN+SA"
    assert table.mixture(["sam"]) is None
    assert table.mixture(["clip", "convnext", "siglip"]) is None
    rows = [
        table.mixture(published.book().experts[name][0] for name in row.encoders)
        for row in table.rows
    ]
    assert rows == list(table.rows)


# What is wrong in the paper, each recomputed from what it prints


def test_table_12_has_the_rows_of_sam_and_dinov2_in_each_others_place() -> None:
    """Its row of DINOv2 has the average that figure 4 and table 11 give the mixture with SAM."""
    table = published.table("F4_roundrobin")
    for few in ("CL+CN", "CL+CN+EV"):
        sam, dino = f"{few}+SA", f"{few}+DI"
        assert "each other's names" in table.doubt(sam, "GQA")
        assert "each other's names" in table.doubt(dino, "OCRBench")
        assert abs(deviation(table, sam, "Avg")) < 0.2
        swapped = (table.printed(sam, "Avg") or 0) - (table.mean(dino, "Avg") or 0)
        assert abs(swapped) > 1.0


def test_figure_4_draws_its_first_point_on_another_scale() -> None:
    table = published.table("F4_roundrobin")
    assert table.printed("X1", "Avg, other rule") == 670.5
    assert "675.2" in table.doubt("X1", "Avg, other rule")
    assert table.cell("X1", "Avg") == 675.2


def test_internvl_unfrozen_repeats_clip_unfrozen() -> None:
    table = published.table("T2_clip")
    clip, other = "CLIP at 448, positions interpolated, unfrozen", "InternVL at 448, unfrozen"
    eleven = published.book().columns["Avg"].mean_of
    same = [one for one in eleven if table.cell(clip, one) == table.cell(other, one)]
    assert same == [one for one in eleven if one != "RealWorldQA"]
    assert all(table.doubt(other, one) for one in same)


def test_tables_2_9_and_10_print_averages_of_another_rule() -> None:
    for name, low, high in (("T2_clip", -18.3, 11.7), ("T3_experts", -24.8, -4.7)):
        table = published.table(name)
        off = [
            (table.printed(row.name, "Avg, other rule") or 0) - (table.mean(row.name, "Avg") or 0)
            for row in table.rows
        ]
        assert (min(off), max(off)) == pytest.approx((low, high), abs=0.05)
    assert published.book().columns["Avg, other rule"].note


def test_unfreezing_at_336_loses_more_than_slightly_and_448_is_the_best_of_clip() -> None:
    table = published.table("T2_clip")
    frozen, trained = (
        table.cell(f"CLIP at 336, {how}", "Avg, other rule") or 0 for how in ("frozen", "unfrozen")
    )
    assert trained - frozen == pytest.approx(-53.9)
    clip = {
        row.name: table.cell(row.name, "Avg") or 0.0 for row in table.rows if "CLIP" in row.name
    }
    assert max(clip, key=clip.__getitem__) == "CLIP at 448, positions interpolated, unfrozen"
    printed = {name: table.cell(name, "Avg, other rule") or 0.0 for name in clip}
    assert max(printed, key=printed.__getitem__) == "CLIP at 672, positions interpolated, unfrozen"


def test_sequence_append_leads_with_two_encoders_and_not_with_three() -> None:
    table = published.table("T4_fusion")
    assert "text" in table.doubt("Sequence Append", "Avg")
    assert table.doubt("Channel Concat", "Avg") == ""
    two, three = (
        (table.mean(f"Sequence Append{end}", "Avg") or 0)
        - (table.mean(f"Channel Concat{end}", "Avg") or 0)
        for end in ("", ", with SAM")
    )
    assert two == pytest.approx(8.9)
    assert three == pytest.approx(-4.3)


def test_one_model_has_two_scores_on_vizwiz() -> None:
    released = published.table("T_released_1p8M")
    for row in ("Eagle-X5-7B", "Eagle-X5-7B in table 6"):
        assert released.cell(row, "VizWiz") == 54.4
        assert "59.1" in released.doubt(row, "VizWiz")
    assert published.table("F4_roundrobin").cell("X5", "VizWiz") == 59.1


def test_a_table_row_or_column_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no published table 'T4_fuse'; did you mean 'T4_fus"):
        published.table("T4_fuse")
    with pytest.raises(UserError, match="T4_fusion has no row 'Concat'; did you mean"):
        published.table("T4_fusion").row("Concat")
    with pytest.raises(UserError, match="T4_fusion has no column 'OCRBenc'; did you mean 'OCRB"):
        published.table("T4_fusion").cell("Channel Concat", "OCRBenc")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: raw["tables"][2]["rows"][0]["cells"].pop(), "T4_fusion: .*: 15 cells"),
        (lambda raw: raw["tables"][0].update(source="memory"), "'memory' is not there"),
        (lambda raw: raw["tables"][3].update(columns=["Avgg"]), "'Avgg' is not there"),
        (lambda raw: raw["tables"][4]["rows"][0].update(encoders=["CLIB"]), "'CLIB' is not there"),
        (lambda raw: raw["tables"].append(raw["tables"][0]), "a name comes twice"),
        (lambda raw: raw["tables"][0].update(trust=1), "Extra inputs"),
        (lambda raw: raw["columns"]["Avg"].update(full=-1), "greater than 0"),
        (lambda raw: raw["sources"]["paper"].update(trust="hearsay"), "primary"),
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
