"""`ablate compare`: two candidates side by side, in words and as JSON."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from in_process import Answer, ablate
from synthetic import ARMS, ROUNDS, STUDY, Run, study

from ablate.reports import tables
from ablate.reports.load import load
from ablate.reports.model import StudyResult
from ablate.reports.significance import ONE_RUN

Call = Callable[..., Answer]
PAIR = "clip-micro@32+pix2struct-micro@128"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies with one home: `greedy.yaml`, its last round not played, and `fusion.yaml`."""
    folder = tmp_path_factory.mktemp("compared")
    Run(folder / "home", study(folder, STUDY + ROUNDS), images=16).rounds(2)
    Run(folder / "home", study(folder, STUDY + ARMS, "fusion"), images=16).rounds()
    return folder


@pytest.fixture
def compare(played: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """`ablate compare`, beside the studies."""
    monkeypatch.setenv("ABLATE_HOME", str(played / "home"))
    monkeypatch.chdir(played)
    return partial(ablate, "compare")


@pytest.fixture
def found(played: Path) -> StudyResult:
    return load(study(played, STUDY + ROUNDS), played / "home")


def data(compare: Call, *words: str) -> Any:
    code, out, err = compare(*words, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_numbers_are_those_of_the_study_s_tables(compare: Call, found: StudyResult) -> None:
    told = data(compare, "base", PAIR, "greedy.yaml")
    row = tables.rounds(found).set_index("candidate").loc[PAIR]
    for name in ("delta", "delta_low", "delta_high"):
        assert told["mean"][name] == row[name]
    assert [told["mean"]["a"], told["mean"]["b"]] == pytest.approx(
        [one.composite for one in (found.base, found.best) if one]
    )
    titles = dict(zip(found.tasks.values(), found.tasks, strict=True))
    for one in told["benchmarks"]:
        assert one["b"] == pytest.approx(row[one["benchmark"]])
        assert one["benchmark"] in titles


def test_settings_that_differ_and_no_others_are_told(compare: Call) -> None:
    told = data(compare, "base", PAIR, "greedy.yaml")
    assert told["settings"] == [
        {"setting": "encoders", "a": "clip-micro@32", "b": PAIR.replace("+", " + ")}
    ]
    assert [one["fact"] for one in told["fairness"]] == ["parameters"]


def test_flipped_answers_are_shown_as_many_as_asked_for(compare: Call, found: StudyResult) -> None:
    told = data(compare, "base", PAIR, "greedy.yaml", "--flips", "2")
    assert [one["flip"] for one in told["flips"]].count("fixed") == 2
    for one in told["flips"]:
        right, wrong = ("after", "before") if one["flip"] == "fixed" else ("before", "after")
        assert one[right] == one["truth"] != one[wrong]
    assert data(compare, "base", PAIR, "greedy.yaml")["flips"] == []
    text = compare("base", PAIR, "greedy.yaml", "--flips", "1")[1]
    assert "fixed: " in text
    assert "  truth: " in text


def test_in_words_there_are_settings_scores_flips_and_fairness(compare: Call) -> None:
    text = compare("base", "best", "greedy.yaml")[1]
    assert text.startswith("A: clip-micro@32 (greedy)\nB: ")
    assert "| encoders | clip-micro@32 |" in text
    assert "| mean " in text
    assert "B fixes" in text
    assert "note      parameters: " in text
    assert ONE_RUN in text


def test_candidates_of_two_studies_are_compared_on_the_questions_they_share(compare: Call) -> None:
    told = data(compare, f"greedy.yaml:{PAIR}", "fusion.yaml:sequence append")
    assert told["a"]["study"] == "greedy"
    assert told["b"] == {"study": "fusion", "candidate": "sequence append"}
    assert [one["setting"] for one in told["settings"]] == ["fusion"]
    assert told["mean"]["questions"] == 128
    same = data(compare, f"greedy.yaml:{PAIR}", "channel concat", "fusion.yaml")
    assert same["mean"]["delta"] == 0.0
    assert same["mean"]["p"] == 1.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("base", PAIR + "8", "greedy.yaml"), f"did you mean '{PAIR}'?"),
        (("base", f"{PAIR}+sam-micro@128", "greedy.yaml"), "is not scored (waiting)"),
        (("nothing.yaml:base", "best", "greedy.yaml"), "nothing.yaml"),
    ],
)
def test_a_mistake_is_one_line(compare: Call, words: tuple[str, ...], said: str) -> None:
    code, out, err = compare(*words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
