"""A study beside the published numbers: only like against like, and the same digits everywhere."""

import csv
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic import ROUNDS, STUDY, Run, study

from ablate.catalog import published
from ablate.design import Candidate
from ablate.errors import UserError
from ablate.reports import against, formats
from ablate.reports.frame import records
from ablate.reports.load import load
from ablate.reports.model import Repeats, StudyResult
from ablate.reports.pages.common import ABSENT
from ablate.reports.pages.published import published as shown_beside
from ablate.reports.pages.published import standing
from ablate.reports.site import build
from ablate.search.explore import rounds_so_far
from ablate.store.results import StoredResults

EAGLE = (
    STUDY.replace("suite: micro", "suite: eagle-main")
    + """
published: T_released_1p8M
explore:
  kind: arms
  axis: mixture
  arms:
    - {name: four, published: Eagle-X4-7B, set: {encoders: [clip-micro, pix2struct-micro]}}
    - name: five
      published: Eagle-X5-7B
      set: {encoders: [clip-micro, pix2struct-micro, sam-micro]}
    - {name: ours alone, set: {encoders: [clip-micro, dinov2-micro]}}
"""
)


@pytest.fixture(scope="module")
def eagle(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """Three arms on the published benchmarks, two of them published."""
    folder = tmp_path_factory.mktemp("eagle")
    subject = study(folder, EAGLE, "eagle")
    Run(folder, subject, images=30, per_image=15).rounds()
    return load(subject, folder)


def held(found: StudyResult, table: str, rows: dict[str | int, str]) -> StudyResult:
    """The study against another table."""
    return dataclasses.replace(found, published=Repeats(table, rows))


def one(frame: pd.DataFrame, candidate: str, measure: str) -> dict[str, object]:
    [row] = records(frame[(frame["candidate"] == candidate) & (frame["measure"] == measure)])
    return row


def test_a_benchmark_is_compared_in_the_published_unit(eagle: StudyResult) -> None:
    four = eagle.candidates[0]
    frame = against.against(eagle)
    for measure, task, scale in (
        ("MME", "mme", 20),
        ("OCRBench", "ocrbench", 10),
        ("GQA", "gqa", 1),
    ):
        row = one(frame, "four", measure)
        printed = published.table("T_released_1p8M").cell("Eagle-X4-7B", measure)
        assert printed is not None
        assert row["published"] == printed
        assert row["here"] == pytest.approx(scale * four.scores[task], abs=0.05)
        assert row["delta"] == pytest.approx(scale * four.scores[task] - printed, abs=0.06)
        ours = eagle.scoreboard.score(four, (task,))
        assert ours is not None
        assert row["delta_low"] == pytest.approx(scale * ours.low - printed, abs=0.06)
        assert row["delta_high"] == pytest.approx(scale * ours.high - printed, abs=0.06)


def test_what_the_suite_does_not_ask_and_our_composite_stand_there_uncompared(
    eagle: StudyResult,
) -> None:
    frame = against.against(eagle)
    row = one(frame, "five", "MathVista")
    assert (row["published"], row["here"], row["delta"]) == (37.0, None, None)
    row = one(frame, "five", "mean over eagle-main")
    assert (row["published"], row["published_mark"]) == (None, "-")
    assert row["here"] == pytest.approx(eagle.candidates[1].composite)
    assert row["delta"] is None
    assert "MathVista is not compared: eagle-main does not ask it." in against.notes(eagle)


def test_an_arm_without_a_published_row_has_its_composite_alone(eagle: StudyResult) -> None:
    frame = against.against(eagle)
    alone = frame[frame["candidate"] == "ours alone"]
    assert alone["measure"].tolist() == ["mean over eagle-main"]


def test_other_questions_under_the_same_name_are_marked(eagle: StudyResult) -> None:
    row = one(against.against(eagle), "four", "VQAv2")
    assert row["published_mark"] == "!"
    [said] = [line for line in against.notes(eagle) if line.startswith("Marked !")]
    assert "VizWiz: the test split's answers are not public" in said
    assert "VQAv2: published on the test split" in said


def test_an_average_with_a_rule_is_compared_and_one_without_is_not(eagle: StudyResult) -> None:
    four = eagle.candidates[0]
    mixed = held(eagle, "T_released_cambrian", {"four": "Llama3-8B Eagle-X4-8B-Plus"})
    frame = against.against(mixed)
    parts = [four.scores[task] for task in ("mme", "mmbench_en_dev_static", "seedbench", "gqa")]
    general = one(frame, "four", "General")
    assert general["here"] == pytest.approx(sum(parts) / 4, abs=0.06)
    assert general["delta_low"] < general["delta"] < general["delta_high"]  # type: ignore[operator]
    assert one(frame, "four", "Knowledge")["here"] is None
    said = against.notes(mixed)
    assert (
        "Knowledge is not compared: an average over MathVista too, which eagle-main does not ask."
        in said
    )
    avg = held(eagle, "T4_fusion", {"four": "Sequence Append", "five": "Channel Concat"})
    rows = [one(against.against(avg), name, "Avg") for name in ("four", "five")]
    assert [row["published"] for row in rows] == [690.5, 681.5]
    assert [row["published_mark"] for row in rows] == ["?", ""]
    assert [row["delta"] for row in rows] == [None, None]
    said = against.notes(avg)
    assert any(line.startswith("Marked ?: doubtful (Sequence Append; Avg)") for line in said)
    lacks = "Avg is not compared: an average over RealWorldQA too, which eagle-main does not ask."
    assert lacks in said


def test_the_papers_own_average_is_shown_on_its_scale_and_subtracted_where_all_is_alike(
    tmp_path: Path,
) -> None:
    """VizWiz may be on another split: the whole average has no difference, that without it has."""
    text = EAGLE.replace("suite: eagle-main", "suite: eagle").replace(
        "T_released_1p8M", "T4_fusion"
    )
    text = text.replace("Eagle-X4-7B", "Sequence Append").replace("Eagle-X5-7B", "Channel Concat")
    subject = study(tmp_path, text, "averaged")
    Run(tmp_path, subject, images=30, per_image=15).rounds()
    found = load(subject, tmp_path)
    five, frame = found.candidates[1], against.against(found)
    row = one(frame, "five", "Avg")
    assert row["here"] == pytest.approx(10 * (five.composite or 0), abs=0.05)
    assert (row["published"], row["published_mark"], row["delta"]) == (681.5, "!", None)
    row = one(frame, "five", "Avg without VizWiz")
    kept = [score for task, score in five.scores.items() if task != "vizwiz_vqa_val"]
    assert (row["published"], row["published_mark"]) == (701.9, "~")
    assert row["delta"] == pytest.approx(sum(kept) - 701.9, abs=0.06)
    assert len(kept) == 10
    said = against.notes(found)
    assert any(line.startswith("Avg is here on the published scale, without") for line in said)
    assert any(line.startswith("Marked ~: not printed") for line in said)


def test_published_rows_that_are_none_of_ours_are_there_with_every_cell(eagle: StudyResult) -> None:
    table, frame = published.table("T_released_1p8M"), against.against(eagle)
    rest = frame[frame["candidate"].isna()]
    ours = {"Eagle-X4-7B", "Eagle-X5-7B"}
    assert set(rest["published_row"]) == {row.name for row in table.rows} - ours
    shown_ = {(row["published_row"], row["measure"]): row["published"] for row in records(frame)}
    for row in table.rows:
        for column in table.columns:
            assert shown_.get((row.name, column)) == table.cell(row.name, column)


def test_candidates_of_a_search_are_held_against_the_row_of_their_mixture(tmp_path: Path) -> None:
    """Losers too; parameters and GFLOPs follow from the architecture, before anything has run."""
    text = EAGLE.split("published:")[0].replace("[clip-micro@32]", "[convnext-micro, clip-micro]")
    subject = study(tmp_path, text + SEARCH, "searched")
    Run(tmp_path, subject, images=5, per_image=15).rounds(2)
    found = load(subject, tmp_path, last=2)
    table, frame = published.table("F4_roundrobin"), against.against(found)
    named = {
        tried.name: row.name
        for tried in found.candidates
        if (row := table.mixture(title.split("-")[0] for title in tried.encoders))
    }
    assert sorted(named.values()) == ["CL+CN+DI", "CL+CN+SA", "X2"]
    held_ = frame.dropna(subset=["candidate", "published_row"])
    assert dict(zip(held_["candidate"], held_["published_row"], strict=True)) == named
    costs = [one(frame, "convnext-micro@128+clip-micro@32", name) for name in COSTS]
    assert [row["published"] for row in costs] == [1155.2, 3347.2]
    assert all(row["here"] and row["delta"] for row in costs)
    assert any(line.startswith("GFLOPs here: multiply-adds") for line in against.notes(found))


COSTS = ("Vision parameters, M", "GFLOPs")
SEARCH = """
published: F4_roundrobin
explore: {kind: rounds, pool: [sam-micro, dinov2-micro], rounds: 3}
"""


def test_an_average_of_unknown_formula_has_its_gain_beside_ours(eagle: StudyResult) -> None:
    rows = {"four": "frozen", "five": "frozen, pre-aligned"}
    held_ = held(eagle, "T5_prealign", dict(rows))
    frame = against.against(held_)
    gain = one(frame, "five", "difference to four")
    ours = eagle.scoreboard.difference(eagle.candidates[1], eagle.candidates[0])
    assert ours is not None
    assert (gain["published"], gain["published_mark"]) == (pytest.approx(18.1), "")
    assert gain["here"] == pytest.approx(ours.estimate, abs=0.051)
    assert (gain["here_low"], gain["here_high"]) == (ours.low, ours.high)
    assert gain["delta"] is None
    assert frame["measure"].tolist().count("difference to four") == 1
    assert any("not their size" in line for line in against.notes(held_))
    assert not against.against(eagle)["measure"].str.startswith("gain").any()


def test_how_the_best_stands_to_the_published_result_is_said_as_it_is(eagle: StudyResult) -> None:
    assert eagle.best is not None
    best, other = eagle.best.name, next(one for one in eagle.candidates if one is not eagle.best)
    uncompared = standing(held(eagle, "T5_prealign", {best: "unfrozen"}))
    assert uncompared.startswith("No number published of unfrozen measures what is asked here.")
    compared = standing(held(eagle, "T_released_1p8M", {best: "LLaVA-NeXT 7B"}))
    assert compared.startswith(f"Held against LLaVA-NeXT 7B as published, {best} is higher on ")
    unlike = standing(held(eagle, "T_released_1p8M", {other.name: "LLaVA-NeXT 7B"}))
    assert unlike.startswith(f"No published row is {best}. Published: ")


def test_a_cell_that_was_not_found_is_marked_missing(eagle: StudyResult) -> None:
    gaps = held(eagle, "T_released_1p8M", {"four": "Mini-Gemini 7B"})
    row = one(against.against(gaps), "four", "POPE")
    assert (row["published"], row["published_mark"], row["delta"]) == (None, "-", None)
    assert row["here"] is not None


@pytest.mark.parametrize("form", formats.FORMATS)
def test_every_format_shows_the_same_digits_marks_and_legend(eagle: StudyResult, form: str) -> None:
    frame, notes = against.against(eagle), against.notes(eagle)
    text = formats.render(frame, form, against.caption(eagle), notes)
    for column in ("published", "here", "delta", "delta_low"):
        for value in frame[column].dropna():
            exact = form in ("csv", "json")
            assert (repr(abs(value)) if exact else f"{abs(value):.1f}") in text
    for line in notes:
        plain = re.sub(r"[^\w ]", " ", line).split()
        assert all(word in text for word in plain)
    shown = {"csv": "83.4,!", "json": '"published_mark": "!"'}
    assert shown.get(form, "83.4!") in text


def test_csv_and_json_keep_numbers_apart_from_marks(eagle: StudyResult) -> None:
    frame, notes = against.against(eagle), against.notes(eagle)
    text = formats.to_csv(frame, "", notes)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))
    printed = [float(row["published"]) if row["published"] else None for row in rows]
    assert printed == [row["published"] for row in records(frame)]
    data = json.loads(formats.to_json(frame, "", notes))
    assert [row["published"] for row in data["rows"]] == printed
    assert data["notes"] == notes


def test_winners_of_rounds_are_held_against_the_row_of_their_round(
    eagle: StudyResult, tmp_path: Path
) -> None:
    subject = study(tmp_path, EAGLE.split("published:")[0] + ROUNDS, "grown")
    Run(tmp_path, subject, images=5, per_image=15).rounds(2)
    frame = against.against(load(subject, tmp_path, last=2))
    averages = frame[(frame["measure"] == "Avg") & frame["candidate"].notna()]
    assert averages["published"].tolist() == [675.2, 681.5]
    assert averages["published_row"].tolist() == ["X1", "X2"]


def test_a_study_of_drawn_images_has_the_published_gains_and_the_finding_in_words(
    arms: StudyResult,
) -> None:
    assert not against.comparable(arms)
    gain = one(against.against(arms), "sequence append", "difference to channel concat")
    assert (gain["published"], gain["delta"]) == (9.0, None)
    first, *rest = against.notes(arms)
    assert first.startswith("Not comparable number by number: micro asks no published benchmark.")
    assert "Of two encoders appending sequences has the best average" in first
    assert any("the paper's own PDF" in line for line in rest)


def test_published_changes_are_against_the_row_that_our_base_is(arms: StudyResult) -> None:
    shown = shown_beside(arms, [])
    assert shown is not None
    changes = {row[0]: row[2] for row in shown["shape"]["rows"]}
    assert arms.base.name == "channel concat"
    assert (changes["Channel Concat"], changes["LLaVA-HR"]) == (ABSENT, "-2.8")


def test_a_study_that_names_no_table_is_told_how(eagle: StudyResult) -> None:
    with pytest.raises(UserError, match="names no published table: give it the field `published`"):
        against.notes(dataclasses.replace(eagle, published=None))


def test_the_report_shows_the_same_table_and_offers_it(eagle: StudyResult, tmp_path: Path) -> None:
    page = build(eagle, tmp_path / "report").with_name("published.html").read_text(encoding="utf-8")
    _, rows = formats.shown(against.against(eagle))
    section = page.split("The published result, as a reference")[1].split("</main>")[0]
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", section))
    for cells in rows:
        assert " ".join(cell for cell in cells if cell) in text
    assert "Marked !:" in text
    offered = tmp_path / "report" / "tables" / "published.csv"
    assert offered.read_text(encoding="utf-8").startswith("candidate,published_row,measure")
    assert 'href="tables/published.csv"' in page


def test_candidates_scored_by_different_measures_are_not_shown_side_by_side(tmp_path: Path) -> None:
    class Changes(Run):
        """Its benchmark set is another one for every candidate."""

        def _answers(self, folder: Path, candidate: Candidate) -> dict[str, Any]:
            return {**super()._answers(folder, candidate), "sets": {"gqa": candidate.name}}

    subject = study(tmp_path, EAGLE.split("published:")[0] + ROUNDS, "grown")
    run = Changes(tmp_path, subject, images=2, per_image=15)
    first, second, *_ = rounds_so_far(subject, StoredResults(run.store, subject), 2)
    run.finish(first.candidates[0])
    load(subject, tmp_path, last=2)
    run.finish(second.candidates[0])
    with pytest.raises(UserError, match=r"by different measures.*not the same questions of gqa"):
        load(subject, tmp_path, last=2)
