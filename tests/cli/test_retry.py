"""What failed stays as it is and is said, with the command that runs it again."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "core"))
import core_fakes

from ablate import cli, scheduler
from ablate.commands import reporting
from ablate.errors import UserError
from ablate.worker import StepContext

WORDS = ("--set", "seeds=[0]", "--backend", "inline")


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of the command line."""
    monkeypatch.setattr(sys, "argv", ["ablate", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def train(ctx: StepContext) -> dict[str, Any]:
    """Fails with pix2struct until a file says that the cause is gone."""
    if ctx.step_kind == "pretrain" and "pix2struct" in ctx.work.name:
        core_fakes.note(ctx, "begin")
        if not (ctx.home / "mended").exists():
            raise UserError("the loss is not a number")
    return core_fakes.train(ctx)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are done by fakes, and no report is built of them."""
    trained = dict.fromkeys(("prealign", "pretrain", "finetune"), train)
    executors = {**trained, "evaluate": core_fakes.evaluate}
    monkeypatch.setattr(scheduler, "drive", partial(scheduler.drive, executors=executors))
    monkeypatch.setattr(reporting, "build", lambda study: "nowhere")


def test_a_failure_is_said_at_the_end_and_is_run_again_by_retry_alone(
    fakes: None, own_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "clip-micro@32+pix2struct-micro@128"
    for _ in range(2):
        assert run(monkeypatch, "run", "micro/smoke", *WORDS) == 0
        said = capsys.readouterr()
        reason = f"pretrain {name}.channel_concat: the loss is not a number"
        assert f"failed: {reason}" in said.err.splitlines()
        assert "`ablate retry micro/smoke --set 'seeds=[0]'` runs them again" in said.err
        assert name in said.out  # it keeps its place in the table
    begun = [line for line in core_fakes.executed(own_home, "begin") if "pix2struct" in line]
    assert [line.split()[0] for line in begun] == ["prealign", "pretrain"]
    (own_home / "mended").touch()
    assert run(monkeypatch, "retry", "micro/smoke", *WORDS) == 0
    assert "failed" not in capsys.readouterr().err
    assert run(monkeypatch, "retry", "micro/smoke", *WORDS) == 0
    assert capsys.readouterr().err == "nothing of micro/smoke has failed\n"


def test_a_dry_run_says_what_sbatch_will_be_asked_for(
    own_home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profiles = tmp_path / "clusters.yaml"
    profiles.write_text(
        "default: a\nclusters: {a: {slurm: {partition: gpu, setup: [module load x]}}}"
    )
    monkeypatch.setenv("ABLATE_CLUSTERS", str(profiles))
    change = ("--set", "infra.kinds.evaluate.slurm.cpus=1")
    assert run(monkeypatch, "run", "-n", "--backend", "slurm", "--detach", *change) == 0
    said = capsys.readouterr().out.partition("sbatch for ")[2]
    blocks = dict(block.split(":\n", 1) for block in said.split("sbatch for "))
    assert list(blocks) == ["prealign, pretrain, finetune", "evaluate", "driver"]
    for words, block in zip(
        ("cpus-per-task=4", "cpus-per-task=1", "requeue"), blocks.values(), strict=True
    ):
        assert {f"    --{words}", "    --partition=gpu", "    module load x"} <= {
            *block.splitlines()
        }
    assert run(monkeypatch, "run", "--dry-run") == 0
    assert "sbatch" not in capsys.readouterr().out
    assert not own_home.exists()


@pytest.mark.parametrize("command", ["run", "retry"])
def test_only_a_cluster_can_drive_by_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    assert run(monkeypatch, command, "--detach") == 2
    assert capsys.readouterr().err.startswith("ablate: --detach needs --backend slurm")
