"""Candidates left out before they train, by what their encoders see: features are real here."""

import json
from pathlib import Path

import core_fakes
import pytest
from in_process import Answer, ablate, faked

from ablate.commands.proxy import show
from ablate.config.study import load_study
from ablate.proxies import _steps as steps
from ablate.store.artifacts import Store
from ablate.store.results import StoredResults

POOL = "explore.pool=[dinov2-micro@64, pix2struct-micro@128, sam-micro@128]"
FILTER = "explore.filter={proxy: linear_probe, keep: 2}"


@pytest.fixture(autouse=True)
def few(unreported: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "IMAGES", 24)
    monkeypatch.setattr(steps, "MIRRORED", 8)


def ran(*changes: str) -> Answer:
    sets = [word for change in (POOL, *changes) for word in ("--set", change)]
    with faked(core_fakes.EXECUTORS):
        answer = ablate("run", "micro/smoke", *sets, "--backend", "inline")
    return answer


def test_only_those_train_that_the_proxy_likes_best_and_the_decision_says_why(
    own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = ran(FILTER)
    assert answer.code == 0, answer
    study = load_study("micro/smoke", [POOL, FILTER])
    decided = StoredResults(Store(own_home), study).decision(2)
    assert decided
    sifted = decided["filter"]
    (worst,) = sifted["left_out"]
    assert len(sifted["numbers"]) == 3
    assert min(sifted["numbers"], key=lambda point: sifted["numbers"][point]) == worst
    assert set(decided["scores"]) == set(sifted["numbers"]) - {worst}
    assert sifted["risk"].startswith("what it may cost is not known")
    trained = core_fakes.executed(own_home)
    assert not any(worst in step for step in trained if step.startswith("finetune"))
    assert f"not trained, as linear_probe has them behind its best 2: + {worst.split('+')[1]}" in (
        answer.out
    )
    show("micro/smoke", [POOL, FILTER], None, as_json=True)
    by_name = {one["name"]: one for one in json.loads(capsys.readouterr().out)["candidates"]}
    for point in decided["scores"]:
        assert by_name[point]["linear_probe"] == pytest.approx(sifted["numbers"][point])
    before = core_fakes.executed(own_home)
    assert ran(FILTER).code == 0
    assert core_fakes.executed(own_home) == before
    assert StoredResults(Store(own_home), study).decision(2) == decided


def test_its_risk_is_measured_on_a_study_that_has_all_its_scores(own_home: Path) -> None:
    measured = "explore.filter={proxy: linear_probe, keep: 2, measured_on: micro/smoke}"
    first = ran(measured)
    assert first.code == 0, first
    assert "micro/smoke has no such round with all its scores" in first.out
    whole = own_home / "whole.yaml"
    pool = POOL.removeprefix("explore.").replace("=", ": ")
    whole.write_text(f"extends: micro/smoke\nexplore:\n  {pool}")
    with faked(core_fakes.EXECUTORS):
        assert ablate("run", str(whole), "--backend", "inline").code == 0
    answer = ran(measured.replace("micro/smoke", str(whole)))
    assert answer.code == 0, answer
    assert " of 1 rounds of whole it would have kept the best" in answer.out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("explore.filter={proxy: linear_prob, keep: 2}", "did you mean 'linear_probe'"),
        ("explore.filter={proxy: early_loss, keep: 2}", "early_loss is known after training only"),
        ("explore.filter={proxy: cka, keep: 2, measured_on: micro/smok}", "micro/smoke"),
        ("explore.filter={proxy: cka, keep: 0}", "explore.filter.keep"),
    ],
)
def test_a_filter_that_cannot_be_is_a_line(own_home: Path, change: str, said: str) -> None:
    answer = ran(change)
    assert answer.code == 2
    assert said in answer.err
    assert core_fakes.executed(own_home) == []


def test_a_study_that_filters_tells_no_risk_not_even_its_own(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        f"extends: micro/smoke\nexplore:\n  filter: {{proxy: cka, keep: 1, measured_on: {path}}}\n"
    )
    answer = ablate("run", str(path), "--backend", "inline")
    assert answer.code == 2
    assert "explore.filter.measured_on: own has a filter itself" in answer.err


def test_a_table_of_scores_has_nothing_to_filter_by(own_home: Path) -> None:
    answer = ablate("replay", "eagle/rounds", "--set", "explore.filter={proxy: cka, keep: 2}")
    assert answer.code == 2
    assert "no features for the search's filter" in answer.err
