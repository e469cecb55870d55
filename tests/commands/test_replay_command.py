"""What `ablate replay` prints."""

import json
from pathlib import Path

import pytest
import strategy_toys
from in_process import ablate

from ablate.catalog import suites

TITLES = [task.title for task in suites.resolve("micro").tasks]
POOL = ("--set", "explore.pool=[sam-micro, eva02-micro]", "--set", "explore.rounds=2")


def table(path: Path, scores: dict[str, float]) -> str:
    """A CSV file in which a candidate has one score everywhere, for 2 GPU-hours."""
    lines = [f"{name},{title},{score},2" for name, score in scores.items() for title in TITLES]
    path.write_text("\n".join(["candidate,benchmark,score,cost", *lines]), encoding="utf-8")
    return str(path)


def test_the_paper_s_path_in_words() -> None:
    code, out, err = ablate("replay", "eagle/rounds")
    assert (code, err) == (0, "")
    best = [
        line.split()[1:3]
        for line in out.splitlines()
        if line.endswith("best") or "best, by" in line
    ]
    assert [words[-1].partition("-")[0] for words in best[1:]] == [
        "eva02",
        "pix2struct",
        "sam",
        "dinov2",
    ]
    assert "best, by 0.03" in out
    assert "sam-l@1024, 69.73: the best that is tabulated." in out
    assert "It looked at 11 candidates for " in out
    assert "Scores alone: no answers are behind them" in out
    assert "Doubtful (CL+CN+DI, CL+CN+SA" in out


def test_the_same_as_json() -> None:
    found = json.loads(ablate("replay", "eagle/rounds", "--json").out)
    assert (found["study"], found["strategy"]) == ("eagle/rounds", "rounds")
    added = [name.rpartition("+")[2] for name in found["path"]]
    assert added[1:] == [
        "eva02-l16-det@1024",
        "pix2struct-l@1024",
        "sam-l@1024",
        "dinov2-l14-reg@448",
    ]
    assert found["best"] == found["best_tabulated"]
    assert (found["regret"], found["looked_at"]) == (0.0, 11)
    assert found["rounds"][1]["decision"]["interval"] is None
    each = [one["hours"] for turn in found["rounds"] for one in turn["candidates"]]
    assert found["hours"] == pytest.approx(sum(each))


def test_a_table_of_one_s_own_shows_what_greed_misses(tmp_path: Path) -> None:
    scores = {"clip-micro": 10.0, "clip-micro+sam-micro": 30.0, "clip-micro+eva02-micro": 20.0}
    trap = {**scores, "clip-micro+eva02-micro+sam-micro": 25.0}
    path = table(tmp_path / "scores.csv", trap)
    out = ablate("replay", *POOL, "--over", path).out
    assert "It found clip-micro@32+sam-micro@128, 30.00: the best that is tabulated." in out
    assert "It looked at 3 candidates for 6.0 GPU-hours; all 4 that are tabulated take 8.0" in out
    first = ablate("replay", *POOL, "--over", path, "--round", "1").out
    assert "It found clip-micro@32, 10.00; the best that is tabulated is " in first
    assert "clip-micro@32+sam-micro@128, 30.00: a regret of 20.00 points." in first


def test_a_strategy_of_another_package_is_replayed_and_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `--strategy` alone: the study's own fields are what it takes."""
    strategy_toys.install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    scores = {"clip-micro": 10.0, "clip-micro+sam-micro": 30.0, "clip-micro+eva02-micro": 20.0}
    whole = {**scores, "clip-micro+eva02-micro+sam-micro": 25.0}
    path = table(tmp_path / "scores.csv", whole)
    words = ("replay", *POOL, "--set", "explore.rounds=3", "--strategy", "backward", "--over", path)
    found = json.loads(ablate(*words, "--json").out)
    assert found["strategy"] == "backward"
    sizes = [len(name.split("+")) for name in found["path"]]
    assert sizes == [3, 2, 1]
    assert found["best"] == {"name": "clip-micro@32+sam-micro@128", "score": 30.0}
    assert "- eva02-micro@128" in ablate(*words).out
    plan = json.loads(ablate("plan", *POOL, "--json").out)
    counts = {one["strategy"]: one["candidates"] for one in plan["totals"]["strategies"]}
    assert (counts["rounds"], counts["backward"], counts["exhaustive"]) == (3, 3, 4)


def test_a_mistake_in_the_table_is_one_line(tmp_path: Path) -> None:
    path = table(tmp_path / "scores.csv", {"clip-micro": 690.7})
    code, out, err = ablate("replay", "--over", path)
    assert (code, out) == (2, "")
    assert err == f"ablate: {path}, line 2, column score: 690.7 is not from 0 to 100\n"
