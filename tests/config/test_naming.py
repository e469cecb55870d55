"""One name, one study: what differs in its results never shares a report, a driver, a decision."""

import itertools
from pathlib import Path

import pytest
from in_process import ablate

from ablate.commands import report as reporting
from ablate.commands import run as running
from ablate.config.study import load_study
from ablate.driver import scheduler
from ablate.driver.invocation import Invocation, LastRun, last_driven
from ablate.driver.sessions import begin


def mine(folder: Path, text: str = "extends: micro/smoke\n") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_text(text)
    return str(folder / "mine.yaml")


def test_files_of_one_name_and_variants_of_one_file_are_studies_of_their_own(
    tmp_path: Path,
) -> None:
    a, b = mine(tmp_path / "a"), mine(tmp_path / "b")
    changes = ["seeds=[0]"], ["seeds=[0, 1]"], ["base.recipe.finetune.steps=7"], []
    ids = [load_study(one, some).id for one in (a, b, "micro/smoke") for some in changes]
    assert len(set(ids)) == len(ids)
    assert {one.rpartition("-")[0] for one in ids} == {"mine", "micro/smoke", ""}


def test_a_study_that_ships_is_called_by_its_name_alone() -> None:
    assert load_study("micro/rounds").id == "micro/rounds"
    assert load_study("micro/rounds", ["infra.slurm.partition=gpu"]).id == "micro/rounds"


def test_a_study_stays_the_same_however_it_is_said_and_while_it_is_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_study(mine(tmp_path)).id
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load_study("mine.yaml").id == load_study("link/mine.yaml").id == first
    mine(tmp_path, "extends: micro/smoke\ntitle: Another\n")
    assert load_study("mine.yaml").id == first
    changes = ["seeds=[0]", "base.recipe.finetune.steps=7", "infra.device=cpu"]
    ids = {load_study("mine.yaml", some).id for some in itertools.permutations(changes)}
    assert len(ids) == 1
    assert load_study("mine.yaml", ["title=Another"]).id == first  # which changes nothing


def test_reports_of_one_name_lie_side_by_side(own_home: Path, tmp_path: Path) -> None:
    a, b = mine(tmp_path / "a"), mine(tmp_path / "b")
    ways = [(a,), (b,), (a, "--set", "seeds=[7]"), ("micro/smoke",)]
    paths = [ablate("report", *words).out.strip() for words in ways]
    assert len(set(paths)) == len(paths)
    assert all(Path(path).is_file() for path in paths)
    assert paths[-1] == str(own_home / "reports" / "micro" / "smoke" / "index.html")


def test_cancel_ends_a_study_and_no_other_of_its_name_but_names_it(
    own_home: Path, tmp_path: Path
) -> None:
    a, b = mine(tmp_path / "a"), mine(tmp_path / "b")
    theirs = load_study(b, ["seeds=[7]"])
    LastRun.by(Invocation(b, ["seeds=[7]"])).write(own_home, theirs.id)
    begin(own_home / "drives" / "theirs", theirs.id, "local")
    said = ablate("cancel", a)
    assert said.code == 0
    assert f"`ablate cancel {b} --set 'seeds=[7]'` ends" in said.err
    assert (own_home / "drives" / "theirs" / "driver.json").exists()


def test_a_driver_that_is_a_job_goes_by_the_id_that_it_was_submitted_under(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven: list[str] = []
    monkeypatch.setattr(scheduler, "drive", lambda study, *_, **__: driven.append(study.id))
    monkeypatch.setattr(reporting, "build", lambda study: "nowhere")
    running.to_its_end(Invocation("micro/smoke", ["infra.device=cpu"]), study_id="mine-01234567")
    assert driven == ["mine-01234567"]
    assert last_driven(own_home, "mine-01234567").cancels == (
        "ablate cancel micro/smoke --set infra.device=cpu"
    )
