"""`ablate noise`: the floor of a study, of the shipped recipes and of a home."""

import json
from pathlib import Path

import pytest
from in_process import ablate
from synthetic import ROUNDS, STUDY, Run, study

from ablate.catalog import noise_floors
from ablate.catalog.noise_floors import COMPOSITE, measurements
from ablate.config.study import load_study
from ablate.reports.load import load
from ablate.reports.noise_floor import subject_of
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.replicates import shipped_floor
from ablate.store.results import StoredResults
from ablate.strategies import Decision

SEEDS = STUDY + "seeds: [0, 1, 2]\n" + ROUNDS


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The base trained with three seeds."""
    monkeypatch.setenv("ABLATE_HOME", str(tmp_path))
    Run(tmp_path, study(tmp_path, SEEDS, "again"), images=8).rounds(1)
    return tmp_path


@pytest.mark.parametrize("name", ["micro/rounds", "micro/fusion", "micro/experts"])
def test_the_micro_recipe_has_a_measured_floor_of_every_benchmark(
    name: str, tmp_path: Path
) -> None:
    """Whoever changes the recipe or the suite measures anew: `ablate noise STUDY --write`."""
    subject = load_study(name)
    recipe, suite = subject_of(subject, Store(tmp_path))
    shipped = [one for one in measurements(noise_floors.FOLDER) if one.recipe == recipe]
    assert any(one.suite == suite for one in shipped)
    code, out, _ = ablate("noise", name, "--json")
    found = json.loads(out)["noise"]
    assert code == 0
    assert len(found) == 9
    assert found[COMPOSITE]["freedom"] >= 8


def test_it_tells_how_far_scores_moved_beside_what_answers_do_not_explain_of_it() -> None:
    code, out, _ = ablate("noise", "micro/rounds")
    assert code == 0
    _, head, *rows = (line.split() for line in out.partition("\n\nMOVES")[0].splitlines() if line)
    assert head[1:3] == ["MOVES", "NOISE"]
    assert all(float(moves) > float(noise) for _, moves, noise, *_ in rows)
    assert float({row[0]: row[1] for row in rows}["VQA"]) > 1.0


def test_of_a_published_recipe_nobody_has_measured_it() -> None:
    code, out, _ = ablate("noise", "eagle/fusion")
    assert code == 0
    assert "nobody has measured training noise" in out


def test_a_home_s_floor_is_written_and_known_to_another_home(
    home: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    one = str(home / "again.yaml")
    code, out, _ = ablate("noise", one, "--write", str(other / "noise" / "here.json"))
    assert code == 0
    assert "mean" in out
    here = json.loads(ablate("noise", one, "--json").out)["noise"]
    monkeypatch.setenv("ABLATE_HOME", str(other))
    there = json.loads(ablate("noise", one, "--json").out)["noise"]
    assert here.keys() == there.keys()
    for task, noise in here.items():
        assert there[task] == pytest.approx(noise, abs=1e-3), task
    subject = study(other, STUDY + ROUNDS)
    Run(other, subject, images=8).rounds(2)
    found = load(subject, other, last=2).scoreboard
    assert found.noise is not None
    assert found.noise.freedom == 2.0
    assert all(found.measured(task) for task in found.tasks)


def test_where_nothing_was_trained_twice_no_file_is_written(home: Path) -> None:
    study(home, STUDY.replace("steps: 100", "steps: 101") + ROUNDS, "longer")
    code, _, err = ablate("noise", str(home / "longer.yaml"), "--write", str(home / "none.json"))
    assert code == 2
    assert "nothing of its recipe was trained twice" in err
    assert not (home / "none.json").exists()


def test_a_decision_holds_the_noise_that_other_studies_measured_and_says_which(home: Path) -> None:
    subject = study(home, STUDY + ROUNDS)
    Run(home, subject, images=8).rounds(2)
    turn = rounds_so_far(subject, StoredResults(Store(home), subject), 2)[-1]
    assert turn.decision is not None
    assert turn.decision.tie is not None
    noise = turn.decision.noise
    assert noise is not None
    assert (noise["freedom"], noise["candidates"]) == (2.0, 1)
    stored = turn.decision.to_json()
    assert Decision.from_json(json.loads(json.dumps(stored))) == turn.decision
    older = {name: value for name, value in stored.items() if name != "noise"}
    assert Decision.from_json(older).noise is None


def test_of_runs_at_hand_what_is_shipped_of_the_same_seeds_does_not_count_again(
    home: Path,
) -> None:
    """What a race knows before anything was trained twice in it."""
    ablate("noise", str(home / "again.yaml"), "--write", str(home / "noise" / "here.json"))
    runs = sorted((home / "store" / "evaluate").iterdir())
    known = shipped_floor(runs[:1])
    assert known is not None
    assert known.freedom == 2.0
    assert shipped_floor(runs) is None
