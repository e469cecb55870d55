"""Optuna crosses axes of a design: what does not fit together is never tried, and needs no care."""

from pathlib import Path
from typing import Any

import pytest
from optuna_toys import made, names, run
from strategy_toys import Scores, played

from ablate.config.study import Study
from ablate.cost.checks import require_built
from ablate.design import Candidate
from ablate.errors import UserError
from ablate.search.explore import rounds_so_far

pytestmark = pytest.mark.usefixtures("few_draws")

AXES: dict[str, Any] = {
    "fusion.name": {"kind": "categorical", "choices": ["channel_concat", "interleave"]},
    "connector": {
        "kind": "categorical",
        "choices": ["mlp", "identity", {"name": "resampler2d", "queries": 4, "heads": 4}],
    },
    "tiling": {"kind": "categorical", "choices": ["none", {"name": "internvl", "max_tiles": 2}]},
}
TRIALS = {"space": AXES, "n_trials": 8, "sampler": {"name": "tpe", "n_startup_trials": 6}}


def crossed(**fields: Any) -> Study:
    return made(**{**TRIALS, **fields})


def worth(candidate: Candidate) -> float:
    return 20.0 + 9.0 * (candidate.fusion.name == "interleave") + len(candidate.chosen)


def test_what_does_not_fit_is_never_tried_and_a_killed_search_tries_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = Scores()
    whole = played(crossed(), worth, scores)
    tried = [candidate for turn in whole for candidate in turn.candidates]
    assert len(tried) == 8
    assert {axis for candidate in tried for axis in candidate.chosen} == {"connector", "tiling"}
    for candidate in tried:
        require_built(candidate)
    misfit = tried[0].model_copy(update={"connector": {"name": "identity"}})
    with pytest.raises(UserError, match=r"wide, not .* as the language model's"):
        require_built(misfit)
    monkeypatch.setenv("ABLATE_HOME", str(tmp_path / "anew"))
    known: dict[str, float | str] = {}
    for n, turn in enumerate(whole[:-1]):
        known |= {candidate.name: scores.known[candidate.name] for candidate in turn.candidates}
        assert names(rounds_so_far(crossed(), Scores(dict(known)))[: n + 2]) == names(
            whole[: n + 2]
        )


def test_the_base_is_first_in_whatever_words_it_is_written_and_names_are_short() -> None:
    first, *others = [one for turn in played(crossed(), worth) for one in turn.candidates]
    assert first.chosen == {}
    assert first.name == "0: channel_concat, mlp, none"
    assert any("resampler2d queries=4 heads=4" in candidate.name for candidate in others)


def test_a_space_in_which_nothing_fits_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablate.strategies._sampling.ATTEMPTS", 20)
    connector = {"kind": "categorical", "choices": ["identity"]}
    fusion = {"kind": "categorical", "choices": ["channel_concat"]}
    with pytest.raises(UserError, match="20 points in a row made no candidate; make the space"):
        rounds_so_far(crossed(space={"fusion.name": fusion, "connector": connector}), Scores())


@pytest.mark.slow
def test_it_runs_to_its_report_and_once_more_there_is_nothing_to_do() -> None:
    fields = {**TRIALS, "n_trials": 4}
    assert run(**fields).code == 0
    again = run(**fields)
    assert again.code == 0
    assert "0 to do" in again.out or "nothing" in again.out
