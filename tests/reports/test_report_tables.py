"""The tables: right numbers, and the same digits in every format."""

import csv
import dataclasses
import io
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import FAILED, REASON

from ablate.errors import UserError
from ablate.reports import formats, significance, tables
from ablate.reports.flips import Flips
from ablate.reports.frame import records
from ablate.reports.load import load
from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.pages.benchmarks import Benchmarks
from ablate.stats.significance import holm
from ablate.store.answers import Answers


def test_rounds_lists_each_round_best_first(greedy: StudyResult) -> None:
    frame = tables.rounds(greedy)
    assert frame["round"].tolist() == [1] + [2] * 5 + [3] * 4
    assert "spread" not in frame.columns  # of one seed
    for _, turn in frame.groupby("round"):
        scores = turn["score"].dropna().tolist()
        assert scores == sorted(scores, reverse=True)


def test_a_delta_is_against_the_winner_before(greedy: StudyResult) -> None:
    frame = tables.rounds(greedy)
    won = frame[frame["mark"] == "winner"].set_index("round")
    base, second = greedy.winners[0].composite, greedy.winners[1].composite
    assert base is not None
    assert second is not None
    assert np.isnan(won.loc[1, "delta"])
    assert won.loc[2, "delta"] == pytest.approx(second - base)
    assert won.loc[2, "delta_low"] < won.loc[2, "delta"] < won.loc[2, "delta_high"]


def test_the_winner_is_the_search_s_and_what_it_calls_a_tie_is_one(greedy: StudyResult) -> None:
    frame = tables.rounds(greedy).set_index("candidate")
    for turn in greedy.rounds:
        assert turn.decision is not None
        assert frame.loc[turn.decision["winner"], "mark"] == "winner"
        if turn.decision["tie"]:
            assert frame.loc[turn.decision["runner_up"], "mark"] == "tie"
    failed = frame[frame["mark"] == "failed"]
    assert len(failed) == 1
    assert failed["score"].isna().tolist() == [True]


def test_numbers_are_numbers_in_a_notebook(greedy: StudyResult, arms: StudyResult) -> None:
    frame = tables.rounds(greedy)
    best = frame.nlargest(3, "score")["score"].tolist()
    assert best == sorted(frame["score"].dropna(), reverse=True)[:3]
    assert frame.describe().loc["mean", "delta"] == pytest.approx(frame["delta"].mean())
    assert {str(frame[name].dtype) for name in ("score", "delta_low", "OCR")} == {"float64"}
    assert str(frame["round"].dtype) == str(frame["visual_tokens"].dtype) == "Int64"
    assert tables.arms(arms)["visual_tokens"].sum() == 64
    assert str(frame["mark"].dtype) == "object"


def test_a_folder_without_a_store_is_a_user_s_mistake(greedy: StudyResult, tmp_path: Path) -> None:
    assert load("micro/rounds", str(greedy.home)).home == greedy.home
    for wrong in (str(tmp_path), tmp_path / "nowhere", greedy.home / "store"):
        with pytest.raises(UserError, match=r"has no store: give the folder that `ablate run`"):
            load("micro/rounds", wrong)


@pytest.mark.parametrize("form", formats.FORMATS)
def test_a_failed_candidate_keeps_its_place_with_the_reason_in_every_format(
    greedy: StudyResult, form: str
) -> None:
    text = formats.render(tables.rounds(greedy), form)
    shown = unescape(text).replace(r"\textless{}", "<").replace(r"\textgreater{}", ">")
    assert shown.replace(r"\<", "<").count(f"finetune: {REASON}") == 1
    assert shown.count(FAILED) == (1 if form in ("csv", "json") else 2)
    if form in ("md", "html"):
        assert not re.search(r"(?<!\\)<script", text)


@pytest.mark.parametrize("form", formats.FORMATS)
def test_what_a_fusion_says_of_itself_stands_below_the_table(
    greedy: StudyResult, form: str
) -> None:
    assert "note" not in tables.rounds(greedy)
    noted, *others = greedy.rounds[0].candidates
    steps = [
        replace(step, record={**step.record, "result": {"fusion_notes": ["One <key> a window."]}})
        if step.kind in ("pretrain", "finetune")
        else step
        for step in noted.steps
    ]
    turn = replace(greedy.rounds[0], candidates=(replace(noted, steps=tuple(steps)), *others))
    study = replace(greedy, rounds=(turn, *greedy.rounds[1:]))
    assert study.candidates[0].notes == ["One <key> a window."]
    text = formats.render(tables.rounds(study), form)
    shown = unescape(text).replace(r"\textless{}", "<").replace(r"\textgreater{}", ">")
    assert shown.replace(r"\<", "<").count("One <key> a window.") == 1
    if form == "html":
        assert "<key>" not in text


def test_a_reason_is_short_and_of_failed_candidates_alone(greedy: StudyResult) -> None:
    frame = tables.rounds(greedy)
    assert frame["reason"].notna().tolist() == (frame["mark"] == "failed").tolist()
    (failed,) = (one for one in greedy.candidates if one.name == FAILED)
    step, error = failed.failure or (None, {})
    assert step
    long = replace(step, record={**step.record, "error": {**error, "message": "a\nb " * 999}})
    found = tables.reason(replace(failed, steps=(*failed.steps[:-2], long)))
    assert found
    assert len(found) == tables.LONGEST
    assert found.startswith("finetune: a b a b")
    assert found.endswith("...")


def test_an_interval_holds_its_score(greedy: StudyResult) -> None:
    scored = tables.rounds(greedy).dropna(subset="score")
    assert (scored["score_low"] < scored["score"]).all()
    assert (scored["score"] < scored["score_high"]).all()


def test_arms_are_held_against_the_first_and_average_their_seeds(arms: StudyResult) -> None:
    frame = tables.arms(arms)
    assert frame["candidate"].tolist() == ["channel concat", "sequence append", "llava-hr"]
    assert np.isnan(frame["delta"][0])
    first = arms.candidates[0]
    assert len(first.seed_scores) == 2
    assert frame["score"].tolist()[0] == pytest.approx(sum(first.seed_scores) / 2)
    assert frame["spread"].tolist()[0] == pytest.approx(np.std(first.seed_scores, ddof=1))


def test_a_step_and_what_records_hold_alike_are_in_memory_once(greedy: StudyResult) -> None:
    every = [step for candidate in greedy.candidates for step in candidate.steps]
    assert len(set(map(id, every))) == len({(step.key, step.slug) for step in every}) < len(every)
    scores = [
        score
        for step in set(every)
        if step.kind == "evaluate" and step.status == "done"
        for score in step.record["result"]["scores"].values()
    ]
    assert len(set(map(id, scores))) == len(set(map(repr, scores))) < len(scores)


def test_costs_count_a_shared_step_once_and_its_reuse_as_saved(greedy: StudyResult) -> None:
    costs = tables.costs(greedy).set_index("kind")
    assert costs.loc["prealign", "steps"] == 6
    uses = sum(len(one.encoders) for one in greedy.candidates)
    assert costs.loc["prealign", "reused"] == uses - 6
    assert costs.loc["prealign", "saved"] == 14 * (uses - 6)
    assert costs.loc["evaluate", "reused"] == 0


@pytest.mark.parametrize("form", ["md", "latex", "html"])
def test_what_people_read_is_rounded_to_the_same_digits(greedy: StudyResult, form: str) -> None:
    frame = tables.rounds(greedy)
    text = formats.render(frame, form, "A caption").replace("$-$", "-")
    for column in ("score", "delta_low", "GQA"):
        for value in frame[column].dropna():
            assert f"{value + 0.0:.1f}" in text
    assert formats.render(frame, form) == formats.render(tables.rounds(greedy), form)
    assert text.endswith("\n")
    assert greedy.base.steps[-1].key[:12] not in text


def test_csv_and_json_read_back_equal(greedy: StudyResult) -> None:
    frame = tables.rounds(greedy)
    rows = list(csv.DictReader(io.StringIO(formats.to_csv(frame))))
    scores = [float(row["score"]) if row["score"] else None for row in rows]
    assert scores == [row["score"] for row in records(frame)]
    again = pd.DataFrame(json.loads(formats.to_json(frame))["rows"], dtype=object)
    assert again.where(again.notna(), None).to_dict("records") == records(frame)


def test_significance_corrects_over_the_round_and_marks_ties(greedy: StudyResult) -> None:
    frame = tables.significance(greedy)
    board = greedy.scoreboard
    for turn in greedy.rounds[1:]:
        own = frame[frame["round"] == turn.number].set_index("candidate")
        scored = [one for one in turn.candidates if one.answered]
        found = [board.difference(one, greedy.reference(one)) for one in scored]
        expected = holm([one.p for one in found if one])
        for one, p in zip(scored, expected, strict=True):
            assert own.loc[one.name, "p"] == pytest.approx(p)
        ties = own[own["p_best"] >= 0.05]
        assert set(ties["mark"]) <= {"tie"}
        assert own["mark"].tolist()[0] == "winner"


def test_the_notes_say_what_can_be_seen_and_what_choosing_is_worth(
    greedy: StudyResult, arms: StudyResult
) -> None:
    text = "\n".join(significance.notes(greedy))
    assert f"a true difference of {significance.detectable_difference(greedy):.1f} points" in text
    assert "320 questions on 40 images" in text
    assert "One training run each, and nobody has measured" in text
    assert text.count("chosen on one half of the images") == 2
    assert "means over seeds, 2 each" in "\n".join(significance.notes(arms))


def test_flips_add_up_to_the_questions_that_changed(greedy: StudyResult) -> None:
    frame = tables.flips(greedy)
    best, base = greedy.best, greedy.base
    assert best is not None
    before, after = (greedy.scoreboard.right(one) for one in (base, best))
    assert frame["fixed"].sum() - frame["broken"].sum() == (after - before).sum()
    assert frame["fixed"].sum() + frame["broken"].sum() == abs(after - before).sum()
    for row in records(frame):
        gain = 100 * (row["fixed"] - row["broken"]) / row["questions"]
        assert row["delta"] == pytest.approx(gain)


def test_every_cell_has_its_interval(greedy: StudyResult) -> None:
    frame = tables.cells(greedy)
    assert len(frame) == len(greedy.tasks) * sum(one.answered for one in greedy.candidates)
    assert (frame["score_low"] <= frame["score"]).all()
    assert (frame["score"] <= frame["score_high"]).all()
    wide = tables.rounds(greedy).set_index("candidate")
    for row in records(frame):
        assert row["score"] == wide.loc[row["candidate"], row["benchmark"]]


def test_mcnemar_of_a_known_case() -> None:
    """Ten to two of twelve flips: twice the binomial tail, 2 * 79 / 4096."""
    found = Flips(100, fixed=(("t", "1"),) * 10, broken=(("t", "2"),) * 2)
    assert found.mcnemar == pytest.approx(2 * 79 / 4096)
    assert Flips(100, (), ()).mcnemar == 1.0


def test_costs_are_those_of_the_records_and_the_front_is_marked(greedy: StudyResult) -> None:
    frame = tables.cost(greedy).set_index("candidate")
    base = frame.loc[greedy.base.name]
    assert (base["visual_tokens"], base["parameters"]) == (16, 4_000_000)
    assert base["vision_gflops"] == 32.0
    assert base["tokens_per_second"] == pytest.approx(16 * 320 / 11)
    seconds = sum(step.device_seconds for step in greedy.base.steps)
    assert base["device_hours"] == pytest.approx(seconds / 3600)
    assert greedy.best is not None
    assert frame.index[frame["front"] == "front"].tolist() == [greedy.best.name]


@pytest.mark.parametrize(
    ("axis", "column", "values"),
    [
        ("fusion", "visual_tokens", [16, 32, 16]),
        ("resolution", "resolution", [32, 32, 32]),
        ("pre-alignment", "prealigned", ["yes", "yes", "yes"]),
        ("connector", "connector", ["mlp"] * 3),
        ("tiling", "visual_tokens", [16, 32, 16]),
        ("expert", "encoders", ["clip-micro@32 + pix2struct-micro@128"] * 3),
    ],
)
def test_arms_have_the_columns_of_what_they_vary(
    arms: StudyResult, axis: str, column: str, values: list[object]
) -> None:
    strategy = arms.strategy.model_copy(update={"axis": axis})
    assert tables.arms(replace(arms, strategy=strategy))[column].tolist() == values


def test_arms_of_an_axis_say_in_words_what_they_choose_on_it(arms: StudyResult) -> None:
    chosen = {"name": "gated_cross_attention", "every": 2, "heads": 8}
    first, *others = arms.candidates
    injected = replace(first, config={**first.config, "injection": chosen})
    strategy = arms.strategy.model_copy(update={"axis": "injection"})
    told = tables.columns_of(replace(arms, strategy=strategy))["injection"]
    expected = ["gated_cross_attention every=2", *["prefix"] * len(others)]
    assert [told(candidate) for candidate in (injected, *others)] == expected


EVERY = (
    *(tables.rounds, tables.arms, tables.significance, tables.contributions, tables.moves),
    *(tables.pairs, tables.flips, tables.cost, tables.fairness, tables.cells),
)


@pytest.mark.parametrize("table", EVERY, ids=lambda table: table.__name__)
def test_numbers_are_the_same_in_every_format(
    greedy: StudyResult, table: Callable[[StudyResult], pd.DataFrame]
) -> None:
    frame = table(greedy)
    csv_rows = list(csv.DictReader(io.StringIO(formats.to_csv(frame))))
    json_rows = json.loads(formats.to_json(frame))["rows"]
    for from_csv, from_json, row in zip(csv_rows, json_rows, records(frame), strict=True):
        assert from_json == row
        for name, value in row.items():
            read = from_csv[name]
            number = isinstance(value, int | float)
            assert float(read) == value if number else read.removeprefix("'") == (value or "")
    heads, rows = formats.shown(frame)
    for form in ("md", "latex", "html"):
        text = unescape(formats.render(frame, form)).replace("$-$", "-")
        for row, cells in zip(records(frame), rows, strict=True):
            for head, cell in zip(heads, cells, strict=True):
                if re.fullmatch(r"[-+0-9.\[\], ]+", cell):
                    assert cell in text, (head, row)


@pytest.mark.parametrize("table", EVERY, ids=lambda table: table.__name__)
def test_a_study_without_scores_has_every_table_in_every_format(
    empty: StudyResult, table: Callable[[StudyResult], pd.DataFrame]
) -> None:
    for form in formats.FORMATS:
        assert formats.render(table(empty), form)


@pytest.mark.latex
def test_latex_compiles_as_it_is_and_within_a_paper(greedy: StudyResult, tmp_path: Path) -> None:
    odd = pd.DataFrame({"candidate": [HOSTILE], "score": [-1.0], HOSTILE: [2.0]}, dtype=object)
    made = {
        "odd": formats.latex(
            odd, HOSTILE, [HOSTILE, "\u4e2d \u202e \u00e9\u00fe\u00df --- ``,, \x07"]
        ),
        "rounds": formats.latex(tables.rounds(greedy), tables.caption(greedy)),
        "sure": formats.latex(tables.significance(greedy), "", significance.notes(greedy)),
    }
    for name, text in made.items():
        (tmp_path / f"{name}.tex").write_text(text, encoding="utf-8")
    inputs = "".join(rf"\input{{{name}}}" for name in made)
    (tmp_path / "paper.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{booktabs,graphicx}}"
        rf"\begin{{document}}{inputs}\end{{document}}"
    )
    for name in (*made, "paper"):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:]
        assert "Overfull" not in done.stdout
        assert (tmp_path / f"{name}.pdf").stat().st_size > 10_000


HOSTILE = "a_b & 50% #1 {x} $y$ ~^\\ <b>|</b>\nnext"


@pytest.fixture
def hostile() -> pd.DataFrame:
    return pd.DataFrame({"candidate": [HOSTILE], "score": [1.0]}, dtype=object)


def test_markdown_keeps_a_cell_in_its_cell(hostile: pd.DataFrame) -> None:
    row = formats.markdown(hostile).splitlines()[2]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3


def test_latex_escapes_what_tex_would_read(hostile: pd.DataFrame) -> None:
    text = formats.latex(hostile, HOSTILE)
    row = next(line for line in text.splitlines() if line.endswith(r" & 1.0 \\"))
    assert r"a\_b \& 50\% \#1 \{x\} \$y\$ \textasciitilde{}\textasciicircum{}" in row
    assert row.endswith(r" & 1.0 \\")
    assert r"\toprule" in text
    assert r"\bottomrule" in text


def test_html_escapes(hostile: pd.DataFrame) -> None:
    text = formats.html(hostile, "<i>")
    assert "<b>" not in text
    assert "<i>" not in text
    assert "&lt;b&gt;" in text


def test_a_study_that_never_ran_has_a_table_without_numbers(empty: StudyResult) -> None:
    frame = tables.comparison(empty)
    assert set(frame["mark"]) == {"waiting"}
    for form in formats.FORMATS:
        assert "waiting" in formats.render(frame, form)


def test_a_question_that_weighs_nothing_is_asked_but_never_flipped(greedy: StudyResult) -> None:
    def weightless(one: CandidateResult) -> CandidateResult:
        rows = tuple({**row, "weight": float(row["task"] != "abl_pope")} for row in one.rows)
        return dataclasses.replace(one, runs=(Answers.of(rows),))

    rounds = tuple(
        dataclasses.replace(turn, candidates=tuple(map(weightless, turn.candidates)))
        for turn in greedy.rounds
    )
    study = dataclasses.replace(greedy, rounds=rounds)
    _, second, *_ = study.winners
    told = tables.flips(study, study.base, second).set_index("benchmark").loc["POPE"]
    assert [told[name] for name in ("questions", "fixed", "broken")] == [40, 0, 0]
    page = next(row for row in Benchmarks(study)[second] if row.task == "abl_pope")
    assert (page.questions, page.fixed, page.broken) == (40, 0, 0)


def test_intervals_are_the_same_where_no_draws_are_kept(
    brief: StudyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, scored = tables.cells(brief), Benchmarks(brief)
    monkeypatch.setattr("ablate.reports.scoreboard.KEPT", 0)
    again = dataclasses.replace(brief)
    for task in [*again.tasks] * 2:
        again.scoreboard.drawn((task,))
    pd.testing.assert_frame_equal(tables.cells(again), kept)
    assert list(Benchmarks(again).values()) == list(scored.values())
