"""The tables: right numbers, and the same digits in every format."""

import csv
import io
import json
import re

import pandas as pd
import pytest

from reports import formats, tables
from reports import frame as frames
from reports.model import StudyResult


def test_rounds_lists_each_round_best_first(greedy: StudyResult) -> None:
    frame = tables.rounds(greedy)
    assert frame["round"].tolist() == [1] + [2] * 5 + [3] * 4
    for _, turn in frame.groupby("round"):
        scores = [score for score in turn["score"] if score is not None]
        assert scores == sorted(scores, reverse=True)


def test_a_delta_is_against_the_winner_before(greedy: StudyResult) -> None:
    frame = tables.rounds(greedy)
    won = frame[frame["mark"] == "winner"].set_index("round")
    base, second = greedy.winners[0].composite, greedy.winners[1].composite
    assert base is not None
    assert second is not None
    assert won.loc[1, "delta"] is None
    assert won.loc[2, "delta"] == round(second - base, 1)
    assert won.loc[2, "delta_low"] < won.loc[2, "delta"] < won.loc[2, "delta_high"]


def test_marks_follow_the_decision(greedy: StudyResult) -> None:
    frame = tables.rounds(greedy).set_index("candidate")
    for turn in greedy.rounds:
        assert turn.decision is not None
        assert frame.loc[turn.decision["winner"], "mark"] == "winner"
        if turn.decision["runner_up"]:
            expected = "tie" if turn.decision["tie"] else ""
            assert frame.loc[turn.decision["runner_up"], "mark"] == expected
    failed = frame[frame["mark"] == "failed"]
    assert len(failed) == 1
    assert failed["score"].tolist() == [None]


def test_an_interval_holds_its_score(greedy: StudyResult) -> None:
    scored = tables.rounds(greedy).dropna(subset="score")
    assert (scored["score_low"] < scored["score"]).all()
    assert (scored["score"] < scored["score_high"]).all()


def test_arms_are_held_against_the_first_and_average_their_seeds(arms: StudyResult) -> None:
    frame = tables.arms(arms)
    assert frame["candidate"].tolist() == ["channel concat", "sequence append", "llava-hr"]
    assert frame["delta"].tolist()[0] is None
    first = arms.candidates[0]
    assert len(first.seed_scores) == 2
    assert frame["score"].tolist()[0] == round(sum(first.seed_scores) / 2, 1)


def test_costs_count_a_shared_step_once_and_its_reuse_as_saved(greedy: StudyResult) -> None:
    costs = tables.costs(greedy).set_index("kind")
    assert costs.loc["prealign", "steps"] == 6
    uses = sum(len(one.encoders) for one in greedy.candidates)
    assert costs.loc["prealign", "reused"] == uses - 6
    assert costs.loc["prealign", "saved"] == 14 * (uses - 6)
    assert costs.loc["evaluate", "reused"] == 0


@pytest.mark.parametrize("form", formats.FORMATS)
def test_every_format_shows_the_same_digits(greedy: StudyResult, form: str) -> None:
    frame = tables.rounds(greedy)
    text = formats.render(frame, form, "A caption")
    for column in ("score", "delta_low", "GQA"):
        for value in frame[column]:
            if value is not None:
                assert f"{value:.1f}" in text
    assert text == formats.render(frame, form, "A caption")
    assert text.endswith("\n")


def test_csv_and_json_read_back_equal(greedy: StudyResult) -> None:
    frame = tables.rounds(greedy)
    rows = list(csv.DictReader(io.StringIO(formats.to_csv(frame))))
    assert [float(row["score"]) if row["score"] else None for row in rows] == list(frame["score"])
    again = pd.DataFrame(json.loads(formats.to_json(frame)), dtype=object)
    assert again.where(again.notna(), None).to_dict("records") == frames.records(frame)


HOSTILE = "a_b & 50% #1 {x} $y$ ~^\\ <b>|</b>\nnext"


@pytest.fixture
def hostile() -> pd.DataFrame:
    return pd.DataFrame({"candidate": [HOSTILE], "score": [1.0]}, dtype=object)


def test_markdown_keeps_a_cell_in_its_cell(hostile: pd.DataFrame) -> None:
    row = formats.markdown(hostile).splitlines()[2]
    assert len(re.findall(r"(?<!\\)\|", row)) == 3


def test_latex_escapes_what_tex_would_read(hostile: pd.DataFrame) -> None:
    text = formats.latex(hostile, HOSTILE)
    row = text.splitlines()[8]
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
