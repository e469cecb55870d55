"""Optuna leads a search that can be killed, shared between drivers, and looked at as it goes."""

import json
import math
import operator
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import core_fakes
import optuna
import pytest
from in_process import Answer, ablate, faked
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial
from strategy_toys import Scored, Scores, played

from ablate.config.study import Study, load_study
from ablate.design import Candidate
from ablate.errors import UserError
from ablate.home import Home
from ablate.search import decision
from ablate.search.explore import rounds_so_far
from ablate.search.optuna_log import TrialLog
from ablate.strategies import Round
from ablate.worker.context import StepContext

SPACE: dict[str, Any] = {
    "fusion.name": {"kind": "categorical", "choices": ["channel_concat", "sequence_append"]},
    "encoders": {"kind": "subset", "of": ["sam-micro", "convnext-micro"], "at_most": 1},
    "recipe.finetune.train.llm": {"kind": "float", "low": 1e-4, "high": 2e-3, "log": True},
    "recipe.finetune.steps": {"kind": "integer", "low": 6, "high": 12, "step": 3},
}
GRID = {name: one for name, one in SPACE.items() if name != "recipe.finetune.train.llm"}
NUMBERS = {name: one for name, one in SPACE.items() if name.startswith("recipe")}
BUDGETS: list[dict[str, Any]] = [{"stages": {"finetune": share}} for share in (0.25, 0.5)]
BUDGETS += [{}]


def words(**fields: Any) -> list[str]:
    """What makes a study one that Optuna leads; later fields over those here."""
    explore = {"kind": "optuna", "n_trials": 6, "parallel": 2, "space": SPACE, **fields}
    return [f"explore={json.dumps(explore)}", "seeds=[0]"]


def made(**fields: Any) -> Study:
    return load_study("micro/smoke", words(**fields))


def worth(one: Candidate) -> float:
    """A score that follows from a design: convnext is good, and a large rate is."""
    rate = one.recipe.stages()["finetune"].train["llm"]
    return round(20.0 + 30.0 * ("convnext-micro@128" in one.encoders) + 1e4 * rate, 3)


def names(turns: Sequence[Round]) -> list[str]:
    return [one.name for turn in turns for one in turn.candidates]


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision, "DRAWS", 20)


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


@pytest.mark.parametrize("name", SAMPLERS)
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


PRUNED: dict[str, Any] = {
    "n_trials": 12,
    "parallel": 4,
    "budgets": BUDGETS,
    "pruner": {"name": "median", "n_startup_trials": 2, "n_warmup_steps": 0},
}


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


def sets(**fields: Any) -> list[str]:
    return [word for one in words(**fields) for word in ("--set", one)]


def trials(home: Path, address: str = "") -> list[FrozenTrial]:
    """Those in the storage of the one study in a home."""
    (folder,) = {path.parent for path in home.glob("studies/**/optuna.lease")}
    storage: Any = (
        RDBStorage(address.replace("FOLDER", str(folder)))
        if address
        else JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    )
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage).trials


def test_trials_are_shown_as_they_go_with_what_they_are_worth_on_the_way(tmp_path: Path) -> None:
    study, scores = made(**PRUNED), Scores()
    with closing(TrialLog(study, tmp_path)) as log:
        turns = rounds_so_far(study, scores)
        log.write(turns, scores)
        assert {one.state.name for one in trials(tmp_path)} == {"RUNNING"}
        assert len(trials(tmp_path)) == 4
        one, other, *_ = turns[0].candidates
        scores.known |= {one.name: 40.0, other.name: "the loss is NaN"}
        log.write(rounds_so_far(study, scores), scores)
        first, second, *_ = trials(tmp_path)
        assert (first.state.name, first.intermediate_values) == ("RUNNING", {25: 40.0})
        assert second.state.name == "FAIL"
        assert second.user_attrs["error"] == "finetune: the loss is NaN"
        log.write(played(study, worth, scores), scores)
    found = trials(tmp_path)
    assert {one.state.name for one in found} == {"COMPLETE", "PRUNED", "FAIL"}
    for trial in found:
        if trial.state.name == "COMPLETE":
            assert sorted(trial.intermediate_values) == [25, 50, 100]
            assert trial.values == [trial.intermediate_values[100]]
            assert trial.distributions.keys() == study.strategy.view.distributions().keys()  # type: ignore[union-attr]


def run(*more: str, **fields: Any) -> Answer:
    with faked(core_fakes.EXECUTORS):
        return ablate("run", "micro/smoke", *sets(**fields), "--backend", "inline", *more)


def test_a_database_shows_the_same_and_is_filled_again_where_it_was_lost(own_home: Path) -> None:
    where = {"storage": "sqlite:///trials.db"}
    assert run(**where).code == 0
    address = "sqlite:///FOLDER/trials.db"
    found = [one.values for one in trials(own_home, address)]
    assert len(found) == 6
    (file,) = own_home.glob("studies/**/trials.db")
    file.unlink()
    before = core_fakes.executed(own_home)
    assert run(**where).code == 0
    assert [one.values for one in trials(own_home, address)] == found
    assert core_fakes.executed(own_home) == before


def test_a_database_that_holds_another_homes_study_is_left_as_it_is(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"storage": f"sqlite:///{tmp_path}/shared.db"}
    assert run(**where).code == 0
    monkeypatch.setenv("ABLATE_HOME", str(tmp_path / "second"))
    refused = run(**where)
    assert refused.code == 2
    assert "none of this home's" in refused.err
    assert not core_fakes.executed(tmp_path / "second")


def test_a_database_that_goes_away_meanwhile_is_told_of_once_and_nothing_stops(
    own_home: Path,
) -> None:
    def evaluate(ctx: StepContext) -> dict[str, Any]:
        for file in own_home.glob("studies/**/trials.db"):
            file.write_bytes(b"no database" * 1000)
        return core_fakes.evaluate(ctx)

    words = sets(storage="sqlite:///trials.db")
    with faked({**core_fakes.EXECUTORS, "evaluate": evaluate}):
        done = ablate("run", "micro/smoke", *words, "--backend", "inline")
    assert done.code == 0, done.err
    assert (done.out + done.err).count("it is asked again now and then") == 1
    assert len(json.loads(ablate("table", "micro/smoke", *words, "--json").out)["rows"]) == 6


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql://me:$SECRET_WORD@127.0.0.1:1/trials",
        "sqlite:////no/such/folder/trials.db",
        "sqlite:///$NO_SUCH_VARIABLE",
    ],
)
def test_a_storage_that_cannot_be_reached_is_one_line_before_anything_runs(
    own_home: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_WORD", "hunter22")
    done = run(storage=storage)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("ablate: explore.storage: ")
    assert "hunter22" not in done.err + done.out
    assert not core_fakes.executed(own_home, "begin")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sampler": "tpee"}, "sampler: no sampler 'tpee'; did you mean 'tpe'?"),
        ({"sampler": {"name": "tpe", "n_startup": 2}}, "did you mean 'n_startup_trials'?"),
        ({"sampler": {"name": "nsgaii", "population_size": 1}}, "population_size"),
        ({"sampler": "grid"}, "give recipe.finetune.train.llm a step"),
        ({"sampler": "cmaes", "space": {"fusion.name": SPACE["fusion.name"]}}, "moves numbers"),
        ({"objectives": {"score": None}}, "write score: maximize or score: minimize"),
        ({"objectives": ["score"]}, "'score' has no direction"),
        ({"objectives": {"score": "max"}}, "did you mean 'maximize'?"),
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
            "no kind of range 'int'; did you mean 'integer'?",
        ),
        ({"space": {"llm": {"kind": "categorical", "choices": ["a"]}}}, "compared as arms"),
        ({"storage": "sqlit:///a.db"}, "no storage 'sqlit'; did you mean 'sqlite'?"),
        ({"storage": "postgresql://me:hunter22@host/trials"}, "write user:$NAME@host"),
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


def test_several_objectives_have_a_front_in_table_and_report(own_home: Path) -> None:
    fields: dict[str, Any] = {
        "objectives": {"score": "maximize", "visual_tokens": "minimize", "gpu_hours": "minimize"},
        "sampler": {"name": "nsgaii", "population_size": 4},
    }
    done = run(**fields)
    assert done.code == 0, done.err
    table = json.loads(ablate("table", "micro/smoke", *sets(**fields), "--json").out)
    rows = table["rows"]
    assert len(rows) == 6
    front = [row for row in rows if row["front"] == "front"]
    worth = [(row["score"], -row["visual_tokens"], -row["gpu_hours"]) for row in rows]
    for row, own in zip(rows, worth, strict=True):
        better = [one for one in worth if one != own and all(map(operator.ge, one, own))]
        assert bool(better) == (row not in front)
    assert "On the front of score, visual tokens and gpu hours" in table["notes"][0]
    report = Path(done.out.splitlines()[-1].removeprefix("report: ")).parent
    results = (report / "results.html").read_text()
    assert "On the front of score" in results
    assert results.count("<td>front</td>") == len(front)
    (first, *_) = trials(own_home)
    assert first.values == [rows[0][name] for name in fields["objectives"]]


DRIVE = """
import sys, core_fakes
from pathlib import Path
from ablate.config.study import load_study
from ablate.driver.scheduler import drive
home, *sets = sys.argv[1:]
study = load_study("micro/smoke", sets)
drive(study, backend="local", jobs=2, home=Path(home), executors=core_fakes.EXECUTORS)
"""


def driver(home: Path, fields: dict[str, Any]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", DRIVE, str(home), *words(**fields)])


def decisions(home: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in home.glob("**/round-*.json")}


@pytest.fixture
def alone(tmp_path: Path, fakes: object) -> Path:
    """A home in which the study of `LIVE` ran undisturbed."""
    home = tmp_path / "alone"
    assert driver(home, LIVE).wait(timeout=120) == 0
    return home


LIVE: dict[str, Any] = {
    "n_trials": 6,
    "parallel": 2,
    "sampler": {"name": "tpe", "n_startup_trials": 2},
    "budgets": [{"stages": {"finetune": 0.5}}, {}],
    "pruner": {"name": "median", "n_startup_trials": 1},
}


def test_killed_and_started_again_or_driven_by_two_it_tries_and_decides_the_same(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "killed"
    monkeypatch.setenv("FAKE_SECONDS", "0.2")
    one = driver(home, LIVE)
    deadline = time.monotonic() + 60
    while len(decisions(home)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    one.send_signal(signal.SIGKILL)
    one.wait()
    monkeypatch.setenv("FAKE_SECONDS", "0")
    both = [driver(home, LIVE), driver(home, LIVE)]
    assert [each.wait(timeout=120) for each in both] == [0, 0]
    assert decisions(home) == decisions(alone)
    done = core_fakes.executed(home)
    assert len(done) == len(set(done))
    assert sorted(done) == sorted(core_fakes.executed(alone))
    shown = [(one.params, one.state, one.values) for one in trials(home)]
    assert shown == [(one.params, one.state, one.values) for one in trials(alone)]
    assert len(shown) == 6


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
