"""What failed stays as it is and is said, with the command that runs it again."""

import contextlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import core_fakes
import pytest
from in_process import ablate, faked

from ablate.driver.detach import Driving
from ablate.driver.invocation import Invocation, LastRun, last_driven
from ablate.errors import UserError
from ablate.store.process import JOB
from ablate.worker.context import StepContext

WORDS = ("--set", "seeds=[0]", "--backend", "inline")


def train(ctx: StepContext) -> dict[str, Any]:
    """Fails with pix2struct until a file says that the cause is gone."""
    if ctx.step_kind == "pretrain" and "pix2struct" in ctx.work.name:
        core_fakes.note(ctx, "begin")
        if not (ctx.home / "mended").exists():
            raise UserError("the loss is not a number")
    return core_fakes.train(ctx)


@pytest.fixture
def fakes(unreported: None) -> Iterator[None]:
    """Steps are done by fakes, and no report is built of them."""
    trained = dict.fromkeys(("prealign", "pretrain", "finetune"), train)
    with faked({**trained, "evaluate": core_fakes.evaluate}):
        yield


def test_a_failure_is_said_at_the_end_and_is_run_again_by_retry_alone(
    fakes: None, own_home: Path
) -> None:
    name = "clip-micro@32+pix2struct-micro@128"
    for _ in range(2):
        said = ablate("run", "micro/smoke", *WORDS)
        assert said.code == 1
        reason = f"pretrain {name}.channel_concat: the loss is not a number"
        assert f"failed: {reason}" in said.err.splitlines()
        hint = "`ablate retry micro/smoke --set 'seeds=[0]' --backend inline` runs them again"
        assert hint in said.err
        assert name in said.out  # it keeps its place in the table
    asked = ablate("status", "micro/smoke", *WORDS[:2]).out
    assert "`ablate retry micro/smoke --set 'seeds=[0]' --backend inline` tries it again" in asked
    begun = [line for line in core_fakes.executed(own_home, "begin") if "pix2struct" in line]
    assert [line.split()[0] for line in begun] == ["prealign", "pretrain"]
    (own_home / "mended").touch()
    said = ablate("retry", "micro/smoke", *WORDS)
    assert said.code == 0
    assert "failed" not in said.err
    again = ablate("retry", "micro/smoke", *WORDS)
    assert (again.code, again.err) == (0, "nothing of micro/smoke has failed\n")


def test_a_dry_run_says_what_sbatch_will_be_asked_for(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = tmp_path / "clusters.yaml"
    profiles.write_text(
        "default: a\nclusters: {a: {slurm: {partition: gpu, setup: [module load x]}}}"
    )
    monkeypatch.setenv("ABLATE_CLUSTERS", str(profiles))
    change = ("--set", "infra.kinds.evaluate.slurm.cpus=1")
    code, out, _ = ablate("run", "-n", "--backend", "slurm", "--jobs", "3", "--detach", *change)
    assert code == 0
    said = out.partition("sbatch for ")[2]
    blocks = dict(block.split(":\n", 1) for block in said.split("sbatch for "))
    assert list(blocks) == [
        "preflight",
        "prealign, pretrain, finetune",
        "evaluate",
        "driver",
    ]
    for words, block in zip(
        ("time=60", "cpus-per-task=4", "cpus-per-task=1", "requeue"), blocks.values(), strict=True
    ):
        assert {f"    --{words}", "    --partition=gpu", "    module load x"} <= {
            *block.splitlines()
        }
    limited = ["    --array=0-2" in block.splitlines() for block in blocks.values()]
    assert limited == [False, True, True, False]  # there is but one preflight, and one driver
    code, out, _ = ablate("run", "--dry-run")
    assert code == 0
    assert "sbatch" not in out
    assert not own_home.exists()


@pytest.mark.parametrize("command", ["run", "retry"])
def test_only_a_cluster_can_drive_by_itself(command: str) -> None:
    code, _, err = ablate(command, "--detach")
    assert code == 2
    assert err.startswith("ablate: --detach needs --backend ray or --backend slurm")


def test_a_hint_says_all_that_was_typed_for_a_shell() -> None:
    command = Invocation("my study.yaml", ["seeds=[0, 1]", "infra.cluster=b"], 2, 4, "slurm", True)
    assert shlex.split(command.as_shell("retry")) == [
        *("ablate", "retry", "my study.yaml", "--set", "seeds=[0, 1]", "--set", "infra.cluster=b"),
        *("--round", "2", "--backend", "slurm", "--jobs", "4", "--detach"),
    ]
    assert "--backend" not in command.as_shell("status")
    assert Invocation("micro/rounds").as_shell("run") == "ablate run micro/rounds"


def test_what_a_driver_without_a_terminal_died_of_is_said_until_the_next_one_begins(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: Invocation, folder: Path, own: str) -> int:
        raise UserError("sbatch refused:\nno such partition")

    monkeypatch.setenv("ABLATE_HOME", str(own_home))
    monkeypatch.setenv(JOB, "27")
    monkeypatch.setattr(os, "dup2", lambda *descriptors: None)
    command = Invocation("micro/smoke", backend="slurm", detached=True)
    with pytest.raises(SystemExit, match="sbatch refused"):
        Driving(fail, command, "micro/smoke", own_home, own_home / "drives" / "abc")()
    said = ablate("status", "micro/smoke").out
    log = own_home / "studies" / "micro/smoke" / "drivers" / "abc" / "27_0_log.out"
    reason = "the last driver failed: sbatch refused: no such partition"
    assert f"{reason}; what it printed: {log}\n" in said
    assert "`ablate run micro/smoke --backend slurm --detach` goes on" in said
    LastRun.by(command).write(own_home, "micro/smoke")
    assert "failed" not in ablate("status", "micro/smoke").out


def test_the_job_of_a_driver_fails_where_a_candidate_did(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_HOME", str(own_home))
    monkeypatch.setattr(os, "dup2", lambda *descriptors: None)
    for code in (0, 1):
        ended = contextlib.nullcontext() if code == 0 else pytest.raises(SystemExit, match="1")
        with ended:
            command = Invocation("micro/smoke")
            Driving(
                lambda *_, code=code: code,
                command,
                "micro/smoke",
                own_home,
                own_home / "drives" / "a",
            )()
    assert last_driven(own_home, "micro/smoke").error == ""
