"""A race drops who cannot be the best, and gives the others more training, then more seeds."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import core_fakes
import pytest
from in_process import Answer, ablate, faked
from strategy_toys import Scores, played

from ablate.config.study import Study, load_study
from ablate.design import Candidate
from ablate.design.fidelity import WHOLE, Fidelity
from ablate.search import decision
from ablate.search.explore import rounds_so_far
from ablate.strategies import Round

QUARTER = Fidelity(stages={"finetune": 0.25})
SCORES = {"pix2struct": 47.0, "sam": 43.0, "convnext": 39.0, "eva02": 36.0, "dinov2": 32.0}
"""The true score of the base with each expert."""


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision, "DRAWS", 20)


def race(*words: str) -> Study:
    given = ["explore.kind=racing", "explore.rounds=2", *words]
    return load_study("micro/rounds", given)


def noisy(deviation: float, seed: int = 0) -> Callable[[Candidate], float]:
    """The true score of what it adds, and as much training noise."""
    chance = random.Random(seed)

    def score(one: Candidate) -> float:
        expert = one.encoders[-1].partition("-")[0]
        return max(0.0, min(100.0, chance.gauss(SCORES.get(expert, 26.0), deviation)))

    return score


def shapes(turns: Sequence[Round]) -> list[tuple[int, Fidelity, set[int]]]:
    """Of each turn how many points it has, how much of them, and the seeds."""
    return [
        (len(turn.points), turn.candidates[0].fidelity, {one.seed for one in turn.candidates})
        for turn in turns
    ]


def test_all_start_with_a_part_of_the_last_stage_and_nobody_wins_on_a_part() -> None:
    turns = played(race(), noisy(0.5))
    assert shapes(turns)[:2] == [(1, WHOLE, {0}), (5, QUARTER, {0})]
    assert turns[-1].decision
    assert turns[-1].decision.fidelity == WHOLE
    assert turns[-1].decision.winner == "clip-micro@32+pix2struct-micro@128"


def test_without_any_replicate_no_bound_is_known_and_the_best_half_goes_on_at_least_three() -> None:
    first = played(race(), noisy(0.5))[1].decision
    assert first
    assert first.look
    assert len(first.survivors) == 3
    assert (first.look.spent, first.look.correct) == (0.0, None)
    assert all(one.bound is None for one in list(first.look.standings.values())[1:])
    assert "Training noise is not known" in " ".join(first.look.notes)


def test_who_is_open_gets_more_seeds_and_who_is_out_no_more() -> None:
    turns = played(race("explore.most_seeds=6"), noisy(1.0))
    counts = [count for count, _, _ in shapes(turns)][1:]
    assert counts == sorted(counts, reverse=True)
    assert [seeds for _, fidelity, seeds in shapes(turns)[2:]] == [
        {n} for n in range(len(turns) - 2)
    ]
    last = turns[-1].decision
    assert last
    assert last.look
    out = {
        point
        for turn in turns
        if turn.decision and turn.decision.look
        for point, one in turn.decision.look.standings.items()
        if one.mark == "dropped"
    }
    assert last.winner not in out
    assert all(
        one.bound is None or one.bound < 0.0
        for turn in turns
        if turn.decision and turn.decision.look
        for one in turn.decision.look.standings.values()
        if one.mark == "dropped"
    )


def test_equals_are_declared_equal_within_what_nobody_cares_about() -> None:
    alike = lambda one: 45.0 + one.seed % 2  # noqa: E731
    turns = played(race("explore.indifference=10.0", "explore.most_seeds=6"), alike)
    last = turns[-1].decision
    assert last
    assert last.look
    assert {one.mark for one in last.look.standings.values()} == {"leads", "equal"}
    assert max(seed for _, _, seeds in shapes(turns) for seed in seeds) < 5


def test_a_race_ends_with_its_last_seed_and_says_that_nobody_won() -> None:
    alike = lambda one: 45.0 + 6.0 * ((len(one.name) + one.seed) % 2)  # noqa: E731
    turns = played(race("explore.indifference=0.0", "explore.most_seeds=2"), alike)
    last = turns[-1].decision
    assert last
    assert last.settled
    assert last.look
    assert {seed for _, _, seeds in shapes(turns) for seed in seeds} == {0, 1}
    assert "not told apart" in " ".join(last.look.notes)


def test_at_most_so_many_go_on_from_a_part() -> None:
    turns = played(race("explore.keep=2"), noisy(1.0))
    assert [count for count, _, _ in shapes(turns)][:3] == [1, 5, 2]


def test_a_candidate_that_fails_leaves_the_race() -> None:
    scores = Scores({"clip-micro@32": 26.0})
    study = race()
    for turn in rounds_so_far(study, scores)[1:2]:
        scores.known |= {one.name: 40.0 for one in turn.candidates}
        scores.known[turn.candidates[0].name] = "out of memory"
    (second,) = [turn for turn in rounds_so_far(study, scores) if turn.number == 2]
    assert second.decision
    assert list(second.decision.failed) == [second.candidates[0].point]
    assert second.candidates[0].point not in second.decision.survivors


def test_the_best_is_seldom_dropped_by_a_bound() -> None:
    """At a risk of 5 %, in 40 races."""
    lost = 0
    for seed in range(40):
        turns = played(race("explore.most_seeds=3"), noisy(2.0, seed))
        marks = [
            turn.decision.look.standings.get("clip-micro@32+pix2struct-micro@128")
            for turn in turns
            if turn.decision and turn.decision.look
        ]
        lost += any(one and one.mark == "dropped" and one.bound is not None for one in marks)
    assert lost <= 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("indifference: -1", "explore.indifference: should be greater than or equal to 0, got -1"),
        ("error: 0", "explore.error: should be greater than 0"),
        ("error: 1.0", "explore.error: should be less than 1"),
        ("most_seeds: 0", "explore.most_seeds: should be greater than 0"),
        ("budgets: []", "explore.budgets: the last budget is {}, all of a candidate"),
        ("budgets: [{questions: 0.5}]", "explore.budgets: the last budget is {}"),
        ("budgets: [{stages: {finetun: 0.5}}, {}]", "no stage 'finetun'; did you mean 'finetune'?"),
        ("budgets: [{stages: {finetune: 1.5}}, {}]", "should be less than or equal to 1, got 1.5"),
        ("budgets: [{stage: {finetune: 0.5}}, {}]", "unknown key; did you mean 'stages'?"),
        (
            "budgets: [{stages: {finetune: 0.5}}, {stages: {finetune: 0.2}}, {}]",
            "50 % of finetune is not less than 20 % of finetune",
        ),
    ],
)
def test_a_mistake_is_one_line(words: str, said: str) -> None:
    explore = f"explore={{kind: racing, rounds: 2, pool: [sam-micro, eva02-micro], {words}}}"
    done = ablate("plan", "micro/rounds", "--set", explore)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert said in line


RACE = (
    "--set",
    "explore={kind: racing, rounds: 2, pool: [pix2struct-micro, convnext-micro, sam-micro]}",
)


def on_smoke(command: str, *words: str) -> Answer:
    with faked(core_fakes.EXECUTORS):
        return ablate(command, "micro/smoke", *RACE, *words)


def test_every_look_is_told_in_table_status_and_report(own_home: Path) -> None:
    done = on_smoke("run", "--backend", "inline")
    assert done.code == 0, done.err
    table = json.loads(on_smoke("table", "--json").out)
    assert "Round 2, look 1: 25 % of finetune, 1 run each" in " ".join(table["notes"])
    assert all("%" not in row["candidate"] for row in table["rows"])
    status = json.loads(on_smoke("status", "--json").out)
    assert status["complete"]
    looks = [turn["decision"]["look"] for turn in status["rounds"][1:]]
    assert all({"standings", "error", "spent", "correct", "notes"} <= look.keys() for look in looks)
    report = Path(done.out.splitlines()[-1].removeprefix("report: ")).parent
    results = (report / "results.html").read_text()
    assert "Look 1: 25 % of finetune" in results
    assert "Training noise is not known" in results
