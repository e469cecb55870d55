"""The search proposes and decides from results alone, the same whenever it is asked."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.config.study import Study, load_study
from ablate.design import Candidate
from ablate.errors import UserError
from ablate.search import decision
from ablate.search.explore import rounds_so_far
from ablate.store.results import Evaluation, Failure
from ablate.store.steps import Step
from ablate.strategies import Outcome, Round

STEP = Step("finetune", "x", {})
POOL = ["convnext", "eva02", "pix2struct", "sam", "dinov2"]


class Table:
    """Results from a table of composites by candidate; a word is the reason of a failure."""

    def __init__(self, folder: Path, scores: Mapping[str, float | str]) -> None:
        self.folder, self.scores = folder, dict(scores)
        self.decisions: dict[int, dict[str, Any]] = {}

    def result(self, candidate: Candidate) -> Evaluation | Failure | None:
        score = self.scores.get(short(candidate.name))
        if score is None:
            return None
        if isinstance(score, str):
            return Failure(STEP, score)
        path = self.folder / f"{candidate.name}.jsonl"
        right = [n < score for n in range(100)]
        rows = [{"task": "t", "id": f"{n}", "image": f"{n}", "score": float(ok), "weight": 1.0}
                for n, ok in enumerate(right)]  # fmt: skip
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Evaluation(f"key of {candidate.name} at {score}", {"t": score}, score, str(path))

    def decision(self, number: int) -> dict[str, Any] | None:
        return self.decisions.get(number)


def short(name: str) -> str:
    """`clip+sam` for `clip-micro@32+sam-micro@128`."""
    parts = name.split(" ")
    return " ".join(["+".join(part.split("-")[0] for part in parts[0].split("+")), *parts[1:]])


def names(turn: Round) -> list[str]:
    return [short(one.name) for one in turn.candidates]


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision, "DRAWS", 50)


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("micro/rounds", ["seeds=[0]"])


ROUND_2 = {f"clip+{expert}": 50.0 + n for n, expert in enumerate(POOL)}  # dinov2 wins


def test_with_no_results_all_rounds_are_listed_as_if_the_first_of_the_pool_won(
    study: Study, tmp_path: Path
) -> None:
    first, second, third = rounds_so_far(study, Table(tmp_path, {}))
    assert names(first) == ["clip"]
    assert names(second) == [f"clip+{expert}" for expert in POOL]
    assert names(third) == [f"clip+convnext+{expert}" for expert in POOL[1:]]
    assert [turn.provisional for turn in (first, second, third)] == [False, False, True]
    assert not any(turn.decision for turn in (first, second, third))


def test_the_winner_of_a_round_is_what_the_next_one_grows(study: Study, tmp_path: Path) -> None:
    turns = rounds_so_far(study, Table(tmp_path, {"clip": 40, **ROUND_2}))
    assert turns[1].decision
    assert short(turns[1].decision.winner) == "clip+dinov2"
    assert short(turns[1].decision.runner_up or "") == "clip+sam"
    assert names(turns[2]) == [f"clip+dinov2+{expert}" for expert in POOL[:-1]]
    assert not turns[2].provisional


def test_a_round_waits_for_its_last_candidate(study: Study, tmp_path: Path) -> None:
    missing = {key: score for key, score in ROUND_2.items() if key != "clip+eva02"}
    turns = rounds_so_far(study, Table(tmp_path, {"clip": 40, **missing}))
    assert turns[0].decision
    assert turns[1].decision is None
    assert turns[2].provisional


def test_a_failed_candidate_cannot_win_and_is_named_with_its_reason(
    study: Study, tmp_path: Path
) -> None:
    table = Table(tmp_path, {"clip": 40, **ROUND_2, "clip+dinov2": "out of memory"})
    found = rounds_so_far(study, table)[1].decision
    assert found
    assert short(found.winner) == "clip+sam"
    assert list(found.failed.values()) == ["finetune: out of memory"]
    assert "clip-micro@32+dinov2-micro@64" not in found.scores


def test_a_round_without_a_single_score_is_not_decided(study: Study, tmp_path: Path) -> None:
    table = Table(tmp_path, {"clip": 40, **dict.fromkeys(ROUND_2, "no")})
    turns = rounds_so_far(study, table)
    assert turns[1].decision is None
    assert turns[2].provisional


@pytest.mark.parametrize(("best", "tie"), [(54.0, True), (90.0, None), (53.0, True)])
def test_a_tie_is_an_interval_that_includes_zero_and_of_single_runs_no_other_is_none(
    study: Study, tmp_path: Path, best: float, tie: bool | None
) -> None:
    """A lead of one run may be another run's loss, so that it is no tie cannot be told."""
    table = Table(tmp_path, {"clip": 40, **dict.fromkeys(ROUND_2, 53.0), "clip+sam": best})
    found = rounds_so_far(study, table)[1].decision
    assert found
    assert found.interval
    assert found.difference == pytest.approx(best - 53.0)
    assert found.tie is tie
    assert short(found.winner) == ("clip+convnext" if best == 53.0 else "clip+sam")  # first by name


@pytest.mark.parametrize("counted", [None, {"pope": 2, "ocr": 0}])
def test_a_decision_says_how_many_answers_were_not_read_also_of_older_records(
    tmp_path: Path, counted: dict[str, int] | None
) -> None:
    """Of an older record, whose scores do not count them, they are counted in its answers."""
    said = [("pope", "yes."), ("pope", ""), ("pope", "no"), ("ocr", "cat")]
    rows = [
        {"task": task, "id": f"{n}", "image": "i", "answer": word, "score": 1.0, "weight": 1.0}
        for n, (task, word) in enumerate(said)
    ]
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = [{"task": "pope", "metric": "pope_f1_score"}, {"task": "ocr", "metric": "exact_match"}]
    found = Evaluation("k", {"pope": 1.0}, 50.0, str(path), {"tasks": tasks}, counted)
    design = dict(load_study("micro/smoke").base)

    def ended(point: str, seed: int) -> Outcome:
        return Outcome(Candidate(**design, name="n", point=point, round=1, seed=seed), found)

    turn = [ended("a", 0), ended("a", 1), ended("b", 0)]
    strategy = load_study("micro/smoke").explore
    decided = decision.decide(1, turn, [], strategy, None)
    assert decided
    assert decided.unread == {"a": {"pope": 4}, "b": {"pope": 2}}
    stored = json.loads(json.dumps(decided.to_json()))
    assert decision.decide(1, turn, [], strategy, stored) == decided
    older = {name: value for name, value in stored.items() if name != "unread"}
    assert decision.decide(1, turn, [], strategy, older) == decided


def test_a_stored_decision_is_taken_while_its_inputs_are_the_same(
    study: Study, tmp_path: Path
) -> None:
    table = Table(tmp_path, {"clip": 40, **ROUND_2})
    found = rounds_so_far(study, table)[1].decision
    assert found
    table.decisions[2] = {**found.to_json(), "interval": [-9.0, 9.0]}
    again = rounds_so_far(study, table)[1].decision
    assert again
    assert again.interval == (-9.0, 9.0)
    table.scores["clip+sam"] = 99.0
    renewed = rounds_so_far(study, table)[1].decision
    assert renewed
    assert short(renewed.winner) == "clip+sam"
    assert renewed.interval != (-9.0, 9.0)


def test_the_whole_pool_can_be_asked_for_and_no_more(study: Study, tmp_path: Path) -> None:
    assert len(rounds_so_far(study, Table(tmp_path, {}), 6)) == 6
    with pytest.raises(UserError, match="no round 7; choose one of 1 to 6"):
        rounds_so_far(study, Table(tmp_path, {}), 7)


def test_seeds_of_a_design_are_averaged(tmp_path: Path) -> None:
    study = load_study("micro/rounds", ["seeds=[3, 5]", "explore.rounds=2"])
    scores = {f"{key} (seed {seed})": 50.0 for key in ROUND_2 for seed in (3, 5)}
    scores |= {"clip+sam (seed 3)": 40.0, "clip+sam (seed 5)": 80.0}
    scores |= {"clip+eva02 (seed 3)": 59.0, "clip+eva02 (seed 5)": 59.0}
    found = rounds_so_far(study, Table(tmp_path, {**scores}))[1].decision
    assert found
    assert short(found.winner) == "clip+sam"
    assert found.scores["clip-micro@32+sam-micro@128"] == 60.0
    assert found.difference == pytest.approx(1.0)
    assert len(found.inputs) == 10


def test_a_design_of_which_one_seed_failed_counts_as_failed(tmp_path: Path) -> None:
    study = load_study("micro/rounds", ["seeds=[3, 5]", "explore.rounds=2"])
    scores = {f"{key} (seed {seed})": 50.0 for key in ROUND_2 for seed in (3, 5)}
    table = Table(tmp_path, {**scores, "clip+sam (seed 3)": 99.0, "clip+sam (seed 5)": "NaN"})
    found = rounds_so_far(study, table)[1].decision
    assert found
    assert short(found.winner) == "clip+convnext"
    assert len(found.failed) == 1


def test_arms_are_one_round_of_variants_of_the_base(tmp_path: Path) -> None:
    study = load_study("micro/fusion", ["seeds=[0]"])
    turns = rounds_so_far(study, Table(tmp_path, {}))
    assert len(turns) == 1
    first, *_, last = turns[0].candidates
    assert (first.name, first.fusion.name) == ("sequence append", "sequence_append")
    assert (last.name, len(last.encoders)) == ("deformable of three", 3)
    with pytest.raises(UserError, match="no round 2"):
        rounds_so_far(study, Table(tmp_path, {}), 2)


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_in_whatever_order_results_come_the_decisions_are_the_same(
    study: Study, tmp_path: Path, data: st.DataObject
) -> None:
    """Any prefix of the results leads to the same decisions as all of them at once."""
    score = st.integers(0, 100).map(float) | st.just("failed")
    full = Table(tmp_path, {"clip": data.draw(score)})
    partial = Table(tmp_path, full.scores)
    for _ in range(3):
        for turn in rounds_so_far(study, full):
            if not turn.provisional:
                for name in names(turn):
                    full.scores.setdefault(name, data.draw(score))
    order = data.draw(st.permutations(sorted(full.scores)))
    for name in order:
        partial.scores[name] = full.scores[name]
        for turn in rounds_so_far(study, partial):
            if turn.decision:
                partial.decisions[turn.number] = turn.decision.to_json()
    assert rounds_so_far(study, partial) == rounds_so_far(study, full)


def test_candidates_scored_on_different_sets_are_not_compared(study: Study, tmp_path: Path) -> None:
    class Changed(Table):
        def result(self, candidate: Candidate) -> Evaluation | Failure | None:
            found = super().result(candidate)
            assert isinstance(found, Evaluation)
            copy = "new" if short(candidate.name) == "clip+sam" else "old"
            return dataclasses.replace(found, measure={"sets": {"gqa": copy}})

    with pytest.raises(UserError, match=r"clip-micro.*sam-micro.*not the same questions of gqa"):
        rounds_so_far(study, Changed(tmp_path, {"clip": 40, **ROUND_2}), 2)
