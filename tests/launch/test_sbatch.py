"""Everything a study or profile says of jobs reaches sbatch, to the letter and nothing else."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ablate.config.infra import Infra
from ablate.config.study import load_study
from ablate.driver.detach import Invocation, detach
from ablate.errors import UserError
from ablate.launch.backends import open_backend
from ablate.launch.slurm.last_words import failed_set_up
from ablate.launch.slurm.sbatch import (
    LimitError,
    RefusedError,
    fail_fast_setup,
    on_gpus,
    refused,
    request,
    request_of,
    requests,
    submit,
)

KINDS = ("pretrain", "finetune", "evaluate")


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the head of the PATH in which sbatch takes every job as number 7."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program(programs / "sbatch", "env >$(dirname $0)/env; echo Submitted batch job 7")
    program(programs / "srun", "")
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return programs


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def infra(*changes: str) -> Infra:
    cleared = ["infra.device=auto", *(f"infra.{change}" for change in changes)]
    return load_study("micro/smoke", cleared).infra


def submitted(asked: Infra, folder: Path, jobs: int = 1) -> list[str]:
    """The lines of the script that submitit gave to sbatch."""
    assert submit(request(asked), folder, "name", [int] * jobs) == "7"
    return next(folder.glob("*_submission.sh")).read_text().splitlines()


def test_each_field_becomes_the_option_of_its_name(tmp_path: Path, sbatch: Path) -> None:
    fields = ["timeout_min=90", "cpus=8", "gpus=4", "mem=64G", "partition=big", "account=me"]
    fields += ["qos=high", "constraint=h100", "extra={mail-type: END, exclusive: true, nice: 5}"]
    asked = infra(*(f"slurm.{field}" for field in fields), "devices=4", "nodes=2")
    lines = submitted(asked, tmp_path / "jobs")
    found = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    log = f"{tmp_path}/jobs/%j_0_log"
    assert found == {
        *("--time=90", "--cpus-per-task=8", "--gpus-per-node=4", "--mem=64G", "--partition=big"),
        *("--account=me", "--qos=high", "--constraint=h100", "--mail-type=END", "--exclusive"),
        *("--nice=5", "--nodes=2", "--ntasks-per-node=4", "--job-name=name", "--no-requeue"),
        *("--signal=USR2@120", "--open-mode=append", f"--output={log}.out", f"--error={log}.err"),
    }


def test_set_up_lines_srun_and_python_are_the_users_own(tmp_path: Path, sbatch: Path) -> None:
    setup = ["module load cuda/12", "source '/a b/env' && export X=\"$HOME\""]
    container = ["apptainer", "exec", "--nv", "/images/my image.sif", "python3"]
    asked = infra(
        f"slurm.setup={json.dumps(setup)}",
        "slurm.srun=['--container-image=a b']",
        f"slurm.python={json.dumps(container)}",
    )
    lines = submitted(asked, tmp_path / "jobs")
    for line in ["export OMP_NUM_THREADS=4", *setup]:
        assert line in lines
    command = lines[lines.index("export SUBMITIT_EXECUTOR=slurm") + 1]
    assert command.startswith("srun --unbuffered")
    assert "--cpus-per-task=4 '--container-image=a b' " in command
    assert "apptainer exec --nv '/images/my image.sif' python3 -u -m submitit" in command


def test_without_being_told_a_job_runs_this_python_with_a_gpu_a_process() -> None:
    asked = request(Infra(devices=2))
    assert asked.options["gpus-per-node"] == 2
    assert asked.python == (sys.executable,)
    assert "partition" not in asked.options


@pytest.mark.parametrize(
    ("changes", "gpus"),
    [
        ((), True),
        (("slurm.gpus=0",), False),
        (("device=cpu",), False),
        (("device=cuda", "slurm.gpus=0", "slurm.extra.gres=gpu:a100:1"), True),
    ],
)
def test_steps_run_on_gpus_unless_it_is_said_otherwise(changes: tuple[str], gpus: bool) -> None:
    assert on_gpus(infra(*changes)) is gpus


@pytest.mark.parametrize(("minutes", "seconds"), [(1, 15), (8, 120), (1440, 120)])
def test_a_job_is_told_some_time_before_its_limit(minutes: int, seconds: int) -> None:
    asked = infra(f"slurm.timeout_min={minutes}")
    assert request(asked).options["signal"] == f"USR2@{seconds}"
    assert request(asked).options["time"] == minutes


def test_several_jobs_are_one_array(tmp_path: Path, sbatch: Path) -> None:
    assert "#SBATCH --array=0-4%5" in submitted(Infra(), tmp_path / "jobs", 5)


POLICY = (
    "Batch job submission failed: Job violates accounting/QOS policy "
    "(job submit limit, user's size and/or time limits)"
)


@pytest.mark.parametrize(
    ("said", "limit", "sure"),
    [
        (f"QOSMaxSubmitJobPerUserLimit {POLICY}", "QOSMaxSubmitJobPerUserLimit", True),
        (f"AssocMaxSubmitJobLimit {POLICY}", "AssocMaxSubmitJobLimit", True),
        (f"AssocGrpSubmitJobsLimit {POLICY}", "AssocGrpSubmitJobsLimit", True),
        ("Invalid job array specification", "Invalid job array specification", True),
        ("Slurm temporarily unable to accept job, sleeping", "temporarily unable to accept job", 1),
        (POLICY, "job submit limit", False),
        (f"QOSMaxWallDurationPerJobLimit {POLICY}", None, False),
        (f"AssocMaxWallDurationPerJobLimit {POLICY}", None, False),
        ("invalid partition specified: nowhere", None, False),
    ],
)
def test_a_limit_on_the_number_of_jobs_is_told_from_a_job_that_is_never_taken(
    said: str, limit: str | None, sure: bool
) -> None:
    found = refused(f"sbatch: error: {said}")
    assert isinstance(found, LimitError) is (limit is not None)
    if isinstance(found, LimitError):
        assert (found.limit, found.sure) == (limit, sure)


def test_a_kind_may_ask_for_other_things(tmp_path: Path) -> None:
    asked = infra("slurm.extra.nice=5", "kinds.evaluate.slurm={gpus: 1, extra: {licenses: a}}")
    assert request(asked.of("evaluate")).options["licenses"] == "a"
    assert request(asked.of("evaluate")).options["nice"] == 5
    assert "licenses" not in request(asked.of("finetune")).options
    assert (
        asked.job_signature("evaluate")
        != asked.job_signature("finetune")
        == asked.job_signature("pretrain")
    )


def test_a_driver_gets_the_options_of_the_profile_but_what_asks_for_nodes() -> None:
    extra = "{comment: two words, reservation: days, gres: gpu:a100:4, exclusive: true, nice: 5}"
    changes = [f"slurm.extra={extra}", "kinds.driver.slurm={cpus: 2, extra: {nice: false}}"]
    steps, driver = request(infra(*changes)).options, request_of(infra(*changes), "driver").options
    assert {"comment", "reservation", "gres", "exclusive", "nice"} <= set(steps)
    assert (driver["comment"], driver["reservation"]) == ("two words", "days")
    assert not {"gres", "exclusive", "nice", "gpus-per-node", "mem"} & set(driver)
    assert (driver["cpus-per-task"], driver["requeue"]) == (2, True)


def test_kinds_that_ask_for_the_same_ask_once() -> None:
    asked = requests(infra("kinds.evaluate.slurm.cpus=1"), [*KINDS, "driver", *KINDS])
    assert [kinds for kinds, _ in asked] == [["pretrain", "finetune"], ["evaluate"], ["driver"]]
    assert [one.options["cpus-per-task"] for _, one in asked] == [4, 1, 1]


def test_what_is_asked_for_can_be_pasted_into_a_shell() -> None:
    said = request(infra("slurm.extra={comment: it's two words, exclusive: true}")).words
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {' '.join(said)}"], capture_output=True, text=True
    )
    assert {"--comment=it's two words", "--exclusive"} <= set(done.stdout.splitlines())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("extra.signal=USR1", r"infra.slurm.extra.signal: is set by ablate itself"),
        ("extra.ntasks_per_node=2", r"extra.ntasks_per_node: is a field of its own: infra.devices"),
        ("extra.partition=a", r"infra.slurm.extra.partition: is a field of its own: partition"),
        ("acount=me", r"infra.slurm.acount: unknown key; did you mean 'account'"),
        ("setup=module", r"infra.slurm.setup: .*got 'module'"),
    ],
)
def test_a_mistake_is_named(change: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        infra(f"slurm.{change}")


def test_what_slurm_told_the_job_we_are_in_is_not_handed_on(
    tmp_path: Path, sbatch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "3")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    monkeypatch.setenv("SLURM_CONF", "/somewhere/slurm.conf")
    submitted(Infra(), tmp_path / "jobs")
    told = (sbatch / "env").read_text().splitlines()
    assert [line for line in told if line.startswith("SLURM_")] == [
        "SLURM_CONF=/somewhere/slurm.conf"
    ]


def test_a_refusal_is_one_line(
    tmp_path: Path, sbatch: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program(sbatch / "sbatch", "echo 'sbatch: error: no such\n partition' >&2; exit 1")
    with pytest.raises(RefusedError, match=r"^sbatch: error: no such partition$"):
        submitted(Infra(), tmp_path / "jobs")
    assert capfd.readouterr().err == ""


def test_an_sbatch_that_does_not_come_back_is_not_waited_for(
    tmp_path: Path, sbatch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.launch.slurm.sbatch.PATIENCE", 1)
    program(sbatch / "sbatch", "exec sleep 600")
    began = time.monotonic()
    with pytest.raises(RefusedError, match="it did not answer in 1 s"):
        submitted(Infra(), tmp_path / "jobs")
    assert time.monotonic() - began < 300


@pytest.mark.parametrize("here", [[], ["sbatch", "srun"]])
def test_where_there_is_no_slurm_it_is_said_before_anything_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: list[str]
) -> None:
    for name in here:
        program(tmp_path / name, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = ", ".join(
        name for name in ("sbatch", "srun", "squeue", "scancel") if name not in here
    )
    with pytest.raises(UserError, match=f"^no {missing} on the PATH: .* login node"):
        open_backend("slurm", None, tmp_path, tmp_path / "drive", Infra())
    with pytest.raises(UserError, match=f"^no {missing} on the PATH"):
        detach(
            lambda *_: 0,
            Invocation("micro/smoke", backend="slurm"),
            load_study("micro/smoke"),
            tmp_path,
        )
    assert not (tmp_path / "drives").exists()


def ran(setup: Sequence[str], tmp_path: Path) -> tuple[int, str]:
    """The exit status of a job that begins with these lines, and its standard error."""
    script = [*fail_fast_setup(setup), "echo it ran >&2", "exit 9"]
    (tmp_path / "script").write_text("\n".join(script))
    done = subprocess.run(
        ["bash", tmp_path / "script"], capture_output=True, text=True, timeout=120
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "setup",
    [
        ["cd / && true", "false || true", "# a comment", "true; true"],
        [
            "if true; then",
            "  X='a  b'",
            "fi",
            "for x in 1 2; do\n  true\ndone",
            "[ \"$X\" = 'a  b' ]",
        ],
        ['activate() { grep -q nothing /dev/null; [ -z "$NOWHERE" ]; }', "activate"],
        ["set -euo pipefail", 'export WORD="it\'s"'],
        ["trap 'true' EXIT"],
    ],
)
def test_set_up_lines_that_do_well_are_as_if_nobody_watched(
    tmp_path: Path, setup: list[str]
) -> None:
    assert ran(setup, tmp_path) == (9, "it ran\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("module load 'a  b'/12", "module: command not found"),
        ("cd /nowhere && true", "No such file or directory"),
        ("source /nowhere/bin/activate", "No such file or directory"),
        ("exit 0", ""),
        ("exit 7", ""),
        ("set -e; false", ""),
        ("if then", "`if then`: `if then'"),
    ],
)
def test_a_set_up_line_that_fails_ends_the_job_and_is_named(
    tmp_path: Path, line: str, words: str
) -> None:
    _, said = ran(["true", line, "true"], tmp_path)
    assert "it ran" not in said
    named = failed_set_up(said)
    assert named
    assert named.startswith(f"`{' '.join(line.split())}`")
    assert words in named
