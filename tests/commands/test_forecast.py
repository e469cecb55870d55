"""`ablate replay --repeat` and `ablate plan --strategy`: what a search finds and costs, by
simulation."""

import json
from pathlib import Path

import pytest
from in_process import ablate, conforms

from ablate.catalog import suites

TITLES = [task.title for task in suites.resolve("micro").tasks]
POOL = ("--set", "explore.pool=[sam-micro, eva02-micro]", "--set", "explore.rounds=3")
SCORES = {"clip-micro": 10.0, "clip-micro+sam-micro": 30.0, "clip-micro+eva02-micro": 20.0}


@pytest.fixture
def scores(tmp_path: Path) -> str:
    """A CSV file in which a mixture has one score everywhere, for 2 GPU-hours; two seeds, a point
    apart."""
    whole = {**SCORES, "clip-micro+sam-micro+eva02-micro": 35.0}
    lines = [
        f"{name},{title},{score + seed},2,{seed}"
        for name, score in whole.items()
        for title in TITLES
        for seed in (0, 1)
    ]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join(["candidate,benchmark,score,cost,seed", *lines]), encoding="utf-8")
    return str(path)


def test_a_replay_repeated_compares_the_strategies_that_fit(scores: str) -> None:
    words = ("replay", *POOL, "--over", scores, "--repeat", "10", "--json")
    found = json.loads(ablate(*words).out)
    conforms(found, "replay")
    assert found["noise"] == pytest.approx(0.5**0.5)  # of two runs a point apart
    assert (found["designs"], found["filled"], found["hours_of_all"]) == (4, [], 8.0)
    each = {one["strategy"]: one for one in found["strategies"]}
    assert list(each) == ["rounds", "beam", "exhaustive", "halving", "racing"]
    assert all(one["good"] == one["right"] == 1.0 for one in each.values())
    assert (each["rounds"]["hours"], each["exhaustive"]["share_of_all"]) == (8.0, 1.0)
    assert each["halving"]["hours"] < 8.0
    assert each["rounds"]["best_dropped"] is None
    assert each["racing"]["best_dropped"] == 0.0


def test_the_same_in_words_and_of_one_strategy_alone(scores: str) -> None:
    words = ("replay", *POOL, "--over", scores, "--repeat", "5", "--strategy", "exhaustive")
    code, out, err = ablate(*words, "--noise", "0", "--indifference", "2")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["exhaustive", "100.0%", "100.0%", "8.0", "8.0", "100%"] in lines
    assert "WITHIN 2" in out
    assert "the noise of a run, 0 points" in out


def test_noise_that_is_not_known_has_to_be_said() -> None:
    code, out, err = ablate("replay", "eagle/rounds", "--repeat", "5")
    assert (code, out) == (2, "")
    assert err.endswith("is not known: say it in points, such as --noise 0.5\n")


def test_mixtures_that_the_paper_lacks_are_said_to_be_filled_in() -> None:
    words = ("replay", "eagle/rounds", "--repeat", "3", "--noise", "0.5", "--strategy", "rounds")
    assert "5 are not tabulated, and taken to score what their encoders add elsewhere." in (
        ablate(*words).out
    )


def test_a_plan_by_a_strategy_tells_cost_and_chances_however_candidates_lie() -> None:
    words = ("plan", "eagle/rounds", "--strategy", "halving", "--noise", "0.5", "--repeat", "5")
    found = json.loads(ablate(*words, "--json").out)
    conforms(found, "plan")
    told = [one["if"] for one in found["forecasts"]]
    assert told == [
        "as published",
        "all alike",
        "apart like the noise",
        "apart three times the noise",
    ]
    assert found["forecasts"][1]["right"] == 1.0  # any is the best
    assert found["noise_is"] == "given"
    worst = max(one["hours_at_worst"] for one in found["forecasts"])
    assert found["hours_at_worst"] == worst < 0.4 * found["hours_of_all"]
    text = ablate(*words).out
    assert f"At worst {worst:,.0f} GPU-hours; all 16 designs" in text
    assert "The noise is as given." in text


def test_a_plan_on_faster_gpus_takes_fewer_hours_of_them() -> None:
    words = ("plan", "eagle/rounds", "--strategy", "rounds", "--repeat", "2", "--json")
    a100, h100 = (json.loads(ablate(*words, *gpu).out) for gpu in ((), ("--gpu", "h100")))
    assert h100["hours_of_all"] < a100["hours_of_all"] / 2
    assert h100["forecasts"][0]["hours"] < a100["forecasts"][0]["hours"] / 2


def test_before_anything_was_trained_twice_a_plan_says_that_noise_is_assumed() -> None:
    words = ("plan", "micro/fusion", "--strategy", "arms", "--repeat", "2")
    out = ablate(*words).out
    assert "assumed, for nothing was trained twice here: say --noise" in out
    assert "as published" not in out


def test_a_strategy_that_does_not_fit_the_study_is_one_line() -> None:
    code, _, err = ablate("plan", "micro/fusion", "--strategy", "racing")
    assert (code, "explore.pool: is missing" in err) == (2, True)
    code, _, err = ablate("replay", "--strategy", "hawlving", "--repeat", "2")
    assert (code, "no strategy 'hawlving'; did you mean 'halving'?" in err) == (2, True)
