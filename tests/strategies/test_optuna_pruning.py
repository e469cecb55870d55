"""A trial that is pruned is seen at its budget, and the search goes on as it was."""

import math
from typing import Any

import pytest
from optuna_toys import PRUNED, made, names, worth
from strategy_toys import Scored, Scores, played

from ablate.design import Candidate
from ablate.search.explore import rounds_so_far

pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.mark.parametrize(
    "pruner",
    [
        PRUNED["pruner"],
        {"name": "percentile", "percentile": 25.0},
        {"name": "successive_halving", "reduction_factor": 2},
        {"name": "hyperband", "reduction_factor": 2},
    ],
    ids=lambda one: str(one["name"]),
)
def test_a_pruned_trial_is_seen_at_its_budget_and_never_whole(pruner: dict[str, Any]) -> None:
    fields = {**PRUNED, "pruner": pruner}
    scores = Scores()
    turns = played(made(**fields), worth, scores)
    assert names(turns) == names(rounds_so_far(made(**fields), Scores(dict(scores.known))))
    assert turns[-1].round == 3
    whole = {one.point for turn in turns for one in turn.candidates if one.fidelity.is_whole}
    tried = {one.point for turn in turns for one in turn.candidates}
    assert len(tried) == 12
    assert 0 < len(whole) < 12
    dropped = {point for turn in turns for point in turn.points if turn.mark(point) == "dropped"}
    assert dropped == tried - whole


@pytest.mark.parametrize("name", ["hyperband", "successive_halving", "median"])
def test_a_trial_that_fails_on_the_way_is_told_and_the_others_go_on(name: str) -> None:
    fields = {**PRUNED, "pruner": {"name": name}}
    study, scores, failing = made(**fields), Scores(), "the loss is NaN"
    for turn in range(3):
        *_, last = [one for one in rounds_so_far(study, scores) if not one.provisional]
        first, *others = last.candidates
        assert last.number == turn + 1
        scores.known |= {first.name: failing, **{one.name: worth(one) for one in others}}
    turns = played(study, worth, scores)
    assert len({one.point for turn in turns for one in turn.candidates}) == 12
    assert names(turns) == names(rounds_so_far(made(**fields), Scores(dict(scores.known))))


def test_the_wilcoxon_test_is_over_the_same_images() -> None:
    class Answered(Scored):
        def rows(self) -> list[dict[str, Any]]:
            return [row for row in super().rows() if int(row["id"]) % 2]  # of 100 images half

    class Asked(Scores):
        def result(self, candidate: Candidate) -> Any:
            found = super().result(candidate)
            return Answered(**vars(found)) if isinstance(found, Scored) else found

    fields = {**PRUNED, "budgets": [{"questions": 0.5}, {}], "pruner": "wilcoxon"}
    scores = Asked()
    turns = played(made(**fields), worth, scores)
    dropped = {point for turn in turns for point in turn.points if turn.mark(point) == "dropped"}
    best = -math.inf
    for turn in turns:
        score = {one.point: float(scores.known[one.name]) for one in turn.candidates}
        partial = [one.point for one in turn.candidates if not one.fidelity.is_whole]
        for point in partial if best > -math.inf else ():  # of 50 images 10 that differ are told,
            if best - score[point] > 20.0:
                assert point in dropped
            if best - score[point] < 4.0:  # and 2 are not
                assert point not in dropped
        best = max([best, *(value for point, value in score.items() if point not in partial)])
    assert dropped
