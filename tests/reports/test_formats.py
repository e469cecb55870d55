"""What each format owes its readers: exact numbers, harmless words, a bold best, a label."""

import csv
import io
import json
import re

import pandas as pd

from ablate.reports import formats, tables
from ablate.reports.frame import framed, records
from ablate.reports.model import StudyResult


def test_machines_have_exact_numbers_and_whose_they_are(arms: StudyResult) -> None:
    frame = tables.arms(arms)
    rows = list(csv.DictReader(io.StringIO(formats.to_csv(frame))))
    for one, row, data in zip(
        arms.candidates, rows, json.loads(formats.to_json(frame))["rows"], strict=True
    ):
        found = arms.scoreboard.score(one)
        assert found is not None
        for told in (row, data):
            assert float(told["score"]) == one.composite
            assert float(told["score_low"]) == found.low
            for task, title in arms.tasks.items():
                assert float(told[title]) == one.scores[task]
            assert told["key"].split() == [
                step.key[:12] for step in one.steps if step.kind == "evaluate"
            ]
            assert told["seeds"] == "0 1"
            assert int(told["parameters"]) == 5_000_000
            assert int(told["visual_tokens"]) == (32 if one.name == "sequence append" else 16)
            assert int(told["unread"]) == 0


def test_a_spreadsheet_takes_no_word_for_a_formula_and_every_number_for_one() -> None:
    names = ["=1+1", "@SUM(A1)", "+ sam", "-2", "\tx", "plain", "a=b"]
    frame = pd.DataFrame({"candidate": names, "score": -1.5, "=cmd": 2.0})
    read = list(csv.reader(io.StringIO(formats.to_csv(frame))))
    assert read[0] == ["candidate", "score", "'=cmd"]
    told = [row[0] for row in read[1:]]
    assert told == ["'=1+1", "'@SUM(A1)", "'+ sam", "'-2", "'\tx", "plain", "a=b"]
    assert {row[1] for row in read[1:]} == {"-1.5"}


def test_in_latex_the_highest_of_each_score_is_bold_and_the_table_has_a_label() -> None:
    frame = pd.DataFrame(
        {
            "candidate": ["a", "b", "c"],
            "score": [61.04, 61.01, 12.0],
            "OCR": [None, 3.0, 4.0],
            "delta": [1.0, 2.0, 3.0],
        }
    )
    text = formats.latex(frame, "Fusion, small (against a)")
    assert re.findall(r"^  (.*) \\\\$", text, re.MULTILINE)[1:] == [
        r"a & \textbf{61.0} &  & +1.0",
        r"b & \textbf{61.0} & 3.0 & +2.0",
        r"c & 12.0 & \textbf{4.0} & +3.0",
    ]
    assert r"\label{tab:fusion-small}" in text
    assert "label" not in formats.latex(frame)


def test_a_small_p_and_a_minus_zero_are_shown_as_they_should_be() -> None:
    assert formats.number(1e-9, "p") == "0.0001"
    assert formats.number(-0.04, "delta") == "+0.0"
    assert formats.number(-0.04, "score") == "0.0"
    assert formats.number(61.6, "seconds") == "62"


def test_json_is_what_the_library_would_write_of_all_rows_at_once() -> None:
    rows = [{"candidate": 'a "b"\nc', "score": 0.1 * n, "note": None} for n in range(3)]
    for several, notes in ((rows, ["one\ntwo"]), (rows[:1], []), ([], ["x"])):
        frame = framed(several, ["candidate", "score", "note"])
        whole = json.dumps({"rows": records(frame), "notes": notes}, indent=1, ensure_ascii=False)
        assert formats.to_json(frame, notes=notes) == f"{whole}\n"
