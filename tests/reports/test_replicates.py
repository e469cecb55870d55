"""Runs of one design in a store tell training noise, for whichever study they were made."""

from pathlib import Path

import pytest
from synthetic import ROUNDS, STUDY, Run, study

from ablate.reports import significance, tables
from ablate.reports.load import load
from ablate.reports.scoreboard import Scoreboard
from ablate.store.replicates import trained

SEEDS = STUDY + "seeds: [0, 1, 2]\n" + ROUNDS


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rounds of one seed, and the base with two seeds more in another study."""
    folder = tmp_path_factory.mktemp("replicates")
    Run(folder, study(folder, STUDY + ROUNDS), images=16).rounds(2)
    Run(folder, study(folder, SEEDS, "again"), images=16).rounds(1)
    return folder


def test_single_runs_have_intervals_with_the_noise_of_another_study_s_runs(home: Path) -> None:
    found = load(study(home, STUDY + ROUNDS), home, last=2)
    noise = found.scoreboard.noise
    assert noise is not None
    assert (noise.freedom, noise.candidates) == (2.0, 1)
    alone = Scoreboard(found.candidates)
    assert alone.noise is None
    one, base = found.candidates[1], found.base
    with_noise, without = (board.difference(one, base) for board in (found.scoreboard, alone))
    assert with_noise is not None
    assert without is not None
    assert with_noise.high - with_noise.low > without.high - without.low
    assert with_noise.estimate == pytest.approx(without.estimate)
    said = " ".join(tables.notes(found))
    assert "2 degrees of freedom, from 1 candidate trained repeatedly with this recipe" in said
    assert "leave training noise out" not in said
    assert not {"lower"} & set(tables.rounds(found)["mark"])


def test_a_study_of_several_seeds_counts_its_own_runs_once(home: Path) -> None:
    found = load(study(home, SEEDS, "again"), home, last=1)
    assert found.replicates == {}
    noise = found.scoreboard.noise
    assert noise is not None
    assert noise.freedom == 2.0
    assert "means over seeds, 3 each" in " ".join(significance.covered(found.scoreboard))


def test_another_recipe_or_suite_or_a_damaged_run_tells_nothing(tmp_path: Path) -> None:
    subject = study(tmp_path, STUDY + ROUNDS)
    Run(tmp_path, subject, images=8).rounds(1)
    longer = SEEDS.replace("steps: 100", "steps: 101")
    Run(tmp_path, study(tmp_path, longer, "longer"), images=8).rounds(1)
    found = load(subject, tmp_path, last=1)
    assert found.replicates == {}
    Run(tmp_path, study(tmp_path, SEEDS, "again"), images=8).rounds(1)
    found = load(subject, tmp_path, last=1)
    ((_, runs),) = found.replicates.items()
    assert len(runs) == 3
    mine = found.base.steps[-1].folder
    others = [
        path
        for path in sorted((tmp_path / "store" / "evaluate").iterdir())
        if path != mine and len(replicates_of(tmp_path, mine, path)) > 1
    ]
    (others[0] / "answers.jsonl").write_text("{}\n", encoding="utf-8")
    found = load(subject, tmp_path, last=1)
    ((_, runs),) = found.replicates.items()
    assert len(runs) == 2


def replicates_of(home: Path, one: Path | None, other: Path) -> set[str]:
    """Whether two evaluations are of one design: two of them if so."""
    found = [trained(home, path) for path in (one, other) if path]
    alike = len({each.design for each in found if each}) == 1
    return {each.key for each in found if each} if alike else set()
