"""A study driven through a real Slurm on loopback: the same decisions, and lost jobs done again."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ablate.errors import UserError
from ablate.scheduler import drive
from ablate.study import load_study

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "core"))
import core_fakes  # noqa: E402

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three nodes of four CPUs and two fake GPUs each, as the scripts beside this file set up."""
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([HERE / "start-slurm.sh", folder], check=True, stdout=subprocess.DEVNULL)
    yield folder
    subprocess.run([HERE / "stop-slurm.sh", folder], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(autouse=True)
def on_cluster(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's commands find this cluster, and its jobs find the fakes."""
    monkeypatch.setenv("SLURM_CONF", str(cluster / "etc" / "slurm.conf"))
    monkeypatch.setenv("PATH", f"{cluster / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(HERE.parent / "core"))


def test_slurm_decides_as_inline_does(tmp_path: Path) -> None:
    study = load_study("micro/smoke")
    here = drive(study, backend="inline", home=tmp_path / "a", executors=core_fakes.EXECUTORS)
    there = drive(study, backend="slurm", home=tmp_path / "b", executors=core_fakes.EXECUTORS)
    assert [turn.decision for turn in there] == [turn.decision for turn in here]
    assert sorted(core_fakes.executed(tmp_path / "b")) == sorted(
        core_fakes.executed(tmp_path / "a")
    )


def test_a_job_that_dies_is_run_again(tmp_path: Path) -> None:
    study = load_study("micro/smoke", ["explore.rounds=1"])
    executors = {**core_fakes.EXECUTORS, "evaluate": "core_fakes:die_once"}
    (only,) = drive(study, backend="slurm", home=tmp_path, executors=executors)
    assert only.decision is not None
    assert only.decision.failed == {}
    finished = core_fakes.executed(tmp_path)
    assert len(finished) == len(set(finished))


def test_an_impossible_request_is_said_in_one_line(tmp_path: Path) -> None:
    study = load_study("micro/smoke", ["infra.slurm.partition=nowhere"])
    with pytest.raises(UserError, match=r"sbatch refused: .*partition"):
        drive(study, backend="slurm", home=tmp_path, executors=core_fakes.EXECUTORS)


@pytest.mark.parametrize("where", ["devices", "nodes"])
def test_tasks_of_a_job_do_a_step_together(tmp_path: Path, where: str) -> None:
    changes = ["explore.rounds=1", "seeds=[0]", f"infra.{where}=2", "infra.slurm.cpus=2"]
    study = load_study("micro/smoke", [*changes, "base.recipe.prealign=null"])
    kinds = ("pretrain", "finetune")
    executors = {**core_fakes.EXECUTORS, **dict.fromkeys(kinds, "core_fakes:together")}
    (turn,) = drive(study, backend="slurm", home=tmp_path, executors=executors)
    assert turn.decision
    for path in tmp_path.glob("store/*/*/record.json"):
        record = json.loads(path.read_text())
        if record["kind"] in kinds:
            assert [one[0] for one in record["result"]["there"]] == [0, 1]
            assert record["devices"] == 2
