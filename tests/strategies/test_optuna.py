"""Optuna leads a search that can be killed; a mistake in what it is told is one line."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest
from in_process import ablate, faked
from optuna_toys import BUDGETS, PRUNED, SPACE, made, names, sets, worth
from strategy_toys import Scores, played

from ablate.config.study import load_study
from ablate.errors import UserError
from ablate.home import Home
from ablate.search.explore import rounds_so_far
from ablate.worker.context import StepContext

pytestmark = pytest.mark.usefixtures("few_draws")

GRID = {name: one for name, one in SPACE.items() if name != "recipe.finetune.train.llm"}
NUMBERS = {name: one for name, one in SPACE.items() if name.startswith("recipe")}

SAMPLERS: dict[str, dict[str, Any]] = {
    "tpe": {"sampler": {"name": "tpe", "n_startup_trials": 2}},
    "gp": {"sampler": {"name": "gp", "n_startup_trials": 2}, "n_trials": 4, "space": NUMBERS},
    "nsgaii": {"sampler": {"name": "nsgaii", "population_size": 4}, "n_trials": 12},
    "nsgaiii": {"sampler": {"name": "nsgaiii", "population_size": 4}, "n_trials": 12},
    "random": {"sampler": "random"},
    "qmc": {"sampler": "qmc"},
    "grid": {"sampler": "grid", "space": GRID, "n_trials": 18, "parallel": 6},
}
if find_spec("cmaes"):  # of the extra `optuna`
    SAMPLERS["cmaes"] = {"sampler": "cmaes", "space": NUMBERS, "n_trials": 12, "parallel": 4}


ALIKE = {"nsgaiii": "nsgaii", "qmc": "random"}
"""Samplers by those that ask and remember as they do."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in ALIKE else name for name in SAMPLERS],
)
def test_killed_after_any_turn_a_sampler_goes_on_as_if_it_had_not_been(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing is left of what it was asked before."""
    fields, scores = SAMPLERS[name], Scores()
    whole = played(made(**fields), worth, scores)
    assert len(names(whole)) == fields.get("n_trials", 6)
    known: dict[str, float | str] = {}
    for n in range(len(whole)):
        monkeypatch.setenv("ABLATE_HOME", str(tmp_path / f"{n}"))
        before = rounds_so_far(made(**fields), Scores(dict(known)))
        assert names(before[: n + 1]) == names(whole[: n + 1])
        assert [turn.provisional for turn in before[: n + 2]][-1] == (n + 1 < len(whole))
        known |= {one.name: scores.known[one.name] for one in whole[n].candidates}


def test_what_was_asked_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = Scores()
    turns = played(made(), worth, scores)
    monkeypatch.setattr(optuna.Study, "ask", lambda *_: pytest.fail("asked"))
    assert names(rounds_so_far(made(), Scores(dict(scores.known)))) == names(turns)
    with pytest.raises(pytest.fail.Exception):
        rounds_so_far(made(), Scores({**scores.known, names(turns)[0]: 0.0}))


def test_a_sampler_learns_from_what_it_is_told_and_another_seed_goes_another_way() -> None:
    fields: dict[str, Any] = {"n_trials": 20, "sampler": {"name": "tpe", "n_startup_trials": 6}}
    turns = played(made(**fields), worth)
    late = [one for turn in turns[5:] for one in turn.candidates]
    assert sum("convnext-micro@128" in one.encoders for one in late) > len(late) / 2
    assert names(turns) != names(played(made(**fields, seed=1), worth))


def test_every_point_of_a_grid_is_tried_once() -> None:
    turns = played(made(**SAMPLERS["grid"]), worth)
    designs = {
        (one.fusion.name, one.encoders, one.recipe.stages()["finetune"].steps)
        for turn in turns
        for one in turn.candidates
    }
    assert len(designs) == 2 * 3 * 3


def test_the_first_trial_is_the_base_and_all_are_in_the_space() -> None:
    study = made(n_trials=12)
    turns = played(study, worth)
    first, *others = [one for turn in turns for one in turn.candidates]
    assert (first.encoders, first.fusion, first.recipe) == (
        study.base.encoders,
        study.base.fusion,
        study.base.recipe,
    )
    for one in others:
        stage = one.recipe.stages()["finetune"]
        assert 1e-4 <= stage.train["llm"] <= 2e-3
        assert stage.steps in (6, 9, 12)
        assert len(one.encoders) <= 2


def test_what_is_not_known_yet_is_a_guess_of_which_nothing_is_begun(own_home: Path) -> None:
    began: list[list[str]] = []

    def stop(ctx: StepContext) -> dict[str, Any]:
        began.append([encoder["name"] for encoder in ctx.spec["model"]["encoders"]])
        raise KeyboardInterrupt

    study = made(n_trials=20)
    turns = rounds_so_far(study, Scores())
    assert [turn.provisional for turn in turns] == [False] + [True] * 9
    plan = ablate("plan", "micro/smoke", *sets(n_trials=20)).out
    assert "a guess, until Optuna is told what came of those before" in plan
    with faked({"prealign": stop}):
        ablate("run", "micro/smoke", *sets(n_trials=20), "--backend", "inline")
    assert began == [["clip-micro"]]


def test_a_turn_in_which_all_failed_is_told_and_the_search_goes_on() -> None:
    study, scores = made(), Scores()
    first = rounds_so_far(study, scores)[0]
    scores.known |= dict.fromkeys(names([first]), "the loss is NaN")
    second = rounds_so_far(study, scores)[1]
    assert not second.provisional
    assert len(names(played(study, worth, scores))) == 6


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sampler": "tpee"}, "sampler: no sampler 'tpee'; did you mean 'tpe'?"),
        (
            {"sampler": {"name": "tpe", "n_startup": 2}},
            "did you mean 'n_startup_trials', or another of",
        ),
        ({"sampler": {"name": "nsgaii", "population_size": 1}}, "population_size"),
        ({"sampler": "grid"}, "give recipe.finetune.train.llm a step"),
        ({"sampler": "cmaes", "space": {"fusion.name": SPACE["fusion.name"]}}, "moves numbers"),
        ({"objectives": {"score": None}}, "write score: maximize or score: minimize"),
        ({"objectives": ["score"]}, "'score' has no direction"),
        ({"objectives": {"score": "max"}}, "did you mean 'maximize', or another of"),
        ({"objectives": {"scor": "maximize"}}, "objectives.scor: no objective 'scor'; did you"),
        ({"pruner": "median"}, "a pruner without budgets"),
        ({"budgets": BUDGETS}, "budgets without pruner"),
        ({**PRUNED, "pruner": "mediann"}, "no pruner 'mediann'; did you mean 'median'?"),
        ({**PRUNED, "budgets": BUDGETS[::-1]}, "the last budget is {}, all of a candidate"),
        (
            {**PRUNED, "budgets": [{"stages": {"finetun": 0.5}}, {}]},
            "budgets: no stage 'finetun'; did you mean 'finetune'?",
        ),
        (
            {**PRUNED, "objectives": {"score": "maximize", "gpu_hours": "minimize"}},
            "a pruner reads one objective",
        ),
        (
            {"space": {"fusion.nam": SPACE["fusion.name"]}},
            "base.fusion.nam: unknown key; did you mean 'name'?",
        ),
        (
            {"space": {"recipe.finetne.steps": SPACE["recipe.finetune.steps"]}},
            "did you mean 'finetune'?",
        ),
        (
            {"space": {"encoders": {"kind": "subset", "of": ["samm-micro"]}}},
            "space.encoders.of.0: unknown encoder 'samm-micro'; did you mean 'sam-micro@128'?",
        ),
        (
            {"space": {"recipe.finetune.steps": {"kind": "int", "low": 1, "high": 2}}},
            "no kind of range 'int'; did you mean 'integer', or another of",
        ),
        ({"space": {"llm": {"kind": "categorical", "choices": ["a"]}}}, "compared as arms"),
        ({"storage": "sqlit:///a.db"}, "no storage 'sqlit'; did you mean 'sqlite'?"),
        ({"storage": "postgresql://me:hunter22@host/trials"}, "write user:$NAME@host"),
        ({"storage": "postgresql://me:half/word@host/trials"}, "write user:$NAME@host"),
        ({"storage": "mysql://host/trials?password=hunter22"}, "write user:$NAME@host"),
        ({"storage": "journl"}, "no storage 'journl'; did you mean 'journal'?"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_nearest_choice(
    fields: dict[str, Any], said: str
) -> None:
    done = ablate("plan", "micro/smoke", *sets(**fields))
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert said in line
    assert "hunter22" not in line


def test_cmaes_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(UserError, match=r"pip install 'ablate-vlm\[optuna\]', or choose tpe"):
        made(sampler="cmaes")


def test_a_space_without_a_point_that_makes_a_candidate_says_so() -> None:
    tight = {"encoders": {**SPACE["encoders"], "at_least": 1}, "fusion.grid": {}}
    tight["fusion.grid"] = {"kind": "categorical", "choices": [[4, 4]]}
    study = made(space=tight)
    assert len(names(rounds_so_far(study, Scores())[:1])) == 2


def test_no_other_study_imports_optuna(fakes: object) -> None:
    code = (
        "import sys\nfrom ablate.config.study import load_study\n"
        "from ablate.search.explore import rounds_so_far\nfrom strategy_toys import Scores\n"
        "import ablate.driver.scheduler\n"
        "rounds_so_far(load_study('micro/rounds'), Scores())\n"
        "print('optuna' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_study_that_ships_is_one(own_home: Path) -> None:
    study = load_study("micro/optuna")
    assert study.explore.kind == "optuna"
    assert Home(own_home).path == own_home
