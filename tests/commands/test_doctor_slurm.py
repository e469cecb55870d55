"""`ablate doctor --backend slurm` says in words what keeps a job from running, and cleans up."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from in_process import ablate

from ablate.commands import doctor
from ablate.files import home
from ablate.launch import probe
from ablate.launch.finding import Finding
from ablate.launch.slurm import doctor as doctor_slurm
from ablate.store.record import git_commit, versions

GIB = 2**30


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Slurm of scripts that take every job as number 7, at the head of the PATH; no profile."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("srun", "scontrol", "sinfo", "sacct", "squeue"):
        script(folder, name, "exit 1")
    script(folder, "sbatch", "echo Submitted batch job 7")
    script(folder, "scancel", f"echo $* >>{folder}/cancelled")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    for name, seconds in {"START": 0.5, "SURE": 0.0, "SEEN": 0.0, "RUN": 2.0, "LOOK": 0.02}.items():
        monkeypatch.setattr(doctor_slurm, name, seconds)
    return folder


def script(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f'#!/bin/sh\nin=$(dirname "$1")\n{text}\n')
    (folder / name).chmod(0o755)


def examined(slurm: Path) -> dict[str, Finding]:
    """The findings by what they check; nothing of the probe may be left."""
    findings = list(doctor.examine_jobs("slurm"))
    assert not list(home().glob("doctor-*"))
    assert all(bool(finding.remedy) != (finding.status == "ok") for finding in findings)
    found = {finding.check: finding for finding in findings}
    if found["sbatch"].status == "ok":
        assert (slurm / "cancelled").read_text().splitlines()[-1] == "7"
    return found


def report(**changes: Any) -> dict[str, Any]:
    """What a healthy node with a GPU reports."""
    found = {"host": "node7", "back": 0.2, "signal": True, "missing": [], "commit": git_commit()}
    found |= {"versions": versions(), "visible": "0", "torch": {"cuda": "12.8", "gpus": 1}}
    return found | {"temp": ["/tmp", 9 * GIB], "room": 9 * GIB} | changes


def answering(slurm: Path, told: dict[str, Any], hello: float | None = None) -> None:
    """The probe begins at once, and reports this."""
    began = {"host": "node7", "time": time.time() if hello is None else hello}
    (slurm / "hello.json").write_text(json.dumps(began))
    (slurm / "report-0.json").write_text(json.dumps(told))
    script(slurm, "sbatch", f"cp {slurm}/*.json $in/; echo Submitted batch job 7")


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("invalid partition specified: gpu", "infra.slurm.partition to one of yours: main, big"),
        ("Invalid account or account/partition combination specified", "infra.slurm.account"),
        ("Invalid qos specification", "infra.slurm.qos"),
        ("Requested time limit is invalid", "infra.slurm.timeout_min"),
        ("Invalid feature specification", "infra.slurm.constraint"),
        ("Requested node configuration is not available", "infra.slurm.gpus"),
        ("Invalid generic resource (gres) specification", "infra.slurm.gpus"),
        ("unrecognized option '--colour'", "infra.slurm.extra"),
        ("Unable to contact slurm controller", "slurmctld does not answer"),
        ("the moon is full", "operators"),
    ],
)
def test_a_refusal_is_shown_with_the_field_that_mends_it(
    slurm: Path, said: str, remedy: str
) -> None:
    script(slurm, "sbatch", f'echo "sbatch: error: {said}" >&2; exit 1')
    script(slurm, "sinfo", "echo main; echo big")
    found = examined(slurm)["sbatch"]
    assert found.status == "problem"
    assert said in found.found
    assert remedy in found.remedy


def test_without_slurm_it_says_where_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (only,) = doctor.examine_jobs("slurm")
    assert (only.check, only.status) == ("sbatch", "problem")
    assert "login node" in only.remedy


@pytest.mark.parametrize(
    ("reason", "status", "words"),
    [
        ("Priority", "note", "still pending after 0 s: others in the queue go first"),
        ("AssocGrpGRES", "problem", "stays pending: the limits of its account are reached"),
        ("NoSuchReason", "problem", "stays pending: NoSuchReason"),
    ],
)
def test_why_it_stays_pending_is_said_in_words(
    slurm: Path, reason: str, status: str, words: str
) -> None:
    script(slurm, "squeue", f"echo '7|ablate-doctor|PENDING|{reason}'")
    found = examined(slurm)["queue"]
    assert found.status == status
    assert words in found.found


@pytest.mark.parametrize(
    ("log", "check", "words"),
    [
        ("execve(): /nope/python: No such file", "python there", f"See that {sys.executable} is"),
        ("No module named 'submitit'", "python there", "lacks submitit"),
        ("Bus error", "job", "Read what the job says"),
        (" ", "job", "Read what the job says"),
        ("", "shared folder", "ABLATE_HOME"),
    ],
)
def test_a_job_that_ends_without_a_word_of_ours_is_judged_by_what_it_printed(
    slurm: Path, log: str, check: str, words: str
) -> None:
    script(slurm, "squeue", "echo '7|ablate-doctor|FAILED|NonZeroExitCode'")
    written = f'echo "{log}" >$in/7_0_log.err; ' if log else ""
    script(slurm, "sbatch", f"{written}echo Submitted batch job 7")
    found = examined(slurm)[check]
    assert found.status == "problem"
    assert words in found.remedy
    assert log.strip() in found.found


def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    """The user's clusters, of which this is the default one."""
    path = tmp_path / "clusters.yaml"
    path.write_text(f"default: mine\nclusters:\n  mine:\n    {text}\n")
    monkeypatch.setenv("ABLATE_CLUSTERS", str(path))
    return path


def test_a_set_up_line_that_fails_is_named_and_where_it_is_set(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake sbatch is the node, too: it runs the script."""
    path = profile(tmp_path, monkeypatch, "slurm: {setup: ['true', module load cuda/12]}")
    script(slurm, "squeue", "echo '7|ablate-doctor|FAILED|NonZeroExitCode'")
    script(slurm, "sbatch", 'bash "$1" 2>$in/7_0_log.err; echo Submitted batch job 7')
    found = examined(slurm)["set-up"]
    assert found.status == "problem"
    assert found.found == "the job ended at `module load cuda/12`: module: command not found"
    assert found.remedy.endswith(f"infra.slurm.setup comes from {path}:4.")


def test_it_is_the_configured_python_that_is_named(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile(tmp_path, monkeypatch, "slurm: {python: [/nope/python]}")
    script(slurm, "squeue", "echo '7|ablate-doctor|FAILED|NonZeroExitCode'")
    said = "slurmstepd: error: execve(): /nope/python: No such file or directory"
    log = f"{said}\nsrun: error: n1: task 0: Exited with exit code 2"
    script(slurm, "sbatch", f'echo "{log}" >$in/7_0_log.err; echo Submitted batch job 7')
    found = examined(slurm)["python there"]
    assert found.found == said
    assert found.remedy.startswith("See that /nope/python is there on the node")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ((), "infra.slurm.partition comes from {path}:4."),
        (
            ("infra.slurm.partition=gpus",),
            "infra.slurm.partition comes from --set infra.slurm.partition=gpus.",
        ),
        (("infra.cluster=other",), "A study may say so, or {path} for all studies."),
    ],
)
def test_a_remedy_says_where_the_field_that_it_names_is_set(
    slurm: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: tuple[str, ...],
    place: str,
) -> None:
    path = profile(tmp_path, monkeypatch, "slurm: {partition: gpu}\n  other: {}")
    script(slurm, "sbatch", "echo invalid partition specified >&2; exit 1")
    found = list(doctor.examine_jobs("slurm", "micro/smoke", change))
    remedies = {one.remedy for one in found if one.status == "problem"}
    assert {one.partition(". ")[2] for one in remedies} == {place.format(path=path)}


def test_a_study_is_probed_for_each_thing_that_its_jobs_ask_for(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = "kinds: {evaluate: {slurm: {cpus: 1}}, bake: {slurm: {cpus: 9}}}"
    profile(tmp_path, monkeypatch, kinds)
    answering(slurm, report())
    found = list(doctor.examine_jobs("slurm", "micro/smoke", ["infra.device=cuda"]))
    asked = {one.check: one.found for one in found if one.check.endswith("request")}
    train = "prealign, pretrain, finetune: request"
    assert list(asked) == [train, "evaluate: request", "driver: request"]
    assert [said.count("--cpus-per-task=1 ") for said in asked.values()] == [0, 1, 1]
    checks = [one.check for one in found]
    assert len(checks) == len(set(checks))
    assert "evaluate: GPUs on node7" in checks
    assert "driver: GPUs on node7" not in checks
    assert [check for check in checks if check.endswith("requeue")] == ["driver: requeue"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["micro/smoke"], "add --backend ray or --backend slurm"),
        (["--backend", "slurm", "--set", "seeds=[0]"], "--set changes a study: name one"),
        (["micro/smok", "--backend", "slurm"], "did you mean 'micro/smoke'"),
    ],
)
def test_a_study_that_cannot_be_probed_for_is_one_line(
    slurm: Path, words: list[str], said: str
) -> None:
    code, _, err = ablate("doctor", *words)
    assert code == 2
    assert said in err


def test_a_healthy_cluster_has_nothing_but_good_findings(slurm: Path) -> None:
    script(slurm, "scontrol", "echo 'JobId=7 Requeue=1 Restarts=0'")
    answering(slurm, report())
    found = examined(slurm)
    assert {finding.status for finding in found.values()} == {"ok"}
    assert "--gpus-per-node=1" in found["request"].found
    assert (slurm / "cancelled").read_text().splitlines() == ["--signal=USR2 7", "7"]


@pytest.mark.parametrize(
    ("changes", "check", "status", "words"),
    [
        ({"back": None}, "shared folder", "problem", "did not see"),
        ({"back": 31.0}, "shared folder", "note", "there and back in 31.0 s"),
        ({"signal": False}, "signal", "note", "did not reach"),
        ({"missing": ["timm not installed"]}, "packages on node7", "problem", "timm not installed"),
        ({"versions": {"python": "3.9.1"}}, "packages on node7", "problem", "python 3.9.1 (here"),
        ({"commit": "0123abc"}, "code on node7", "problem", "0123abc, here"),
        ({"visible": ""}, "GPUs on node7", "problem", "0 visible, 1 asked for"),
        (
            {"visible": None, "torch": {"cuda": "12.8", "gpus": 0}},
            "GPUs on node7",
            "problem",
            "0 vi",
        ),
        ({"torch": {"cuda": None, "gpus": 0}}, "GPUs on node7", "problem", "built without CUDA"),
        ({"torch": {"cuda": "12.8", "gpus": 0}}, "GPUs on node7", "problem", "can use 0 of 1"),
        (
            {"torch": {"error": "OSError: x"}},
            "GPUs on node7",
            "problem",
            "does not import: OSError",
        ),
        ({"temp": ["/tmp", 5 * 2**20]}, "temp on node7", "problem", "5 MiB free"),
    ],
)
def test_what_is_not_well_on_a_node_is_named(
    slurm: Path, changes: dict[str, Any], check: str, status: str, words: str
) -> None:
    answering(slurm, report(**changes))
    found = examined(slurm)[check]
    assert found.status == status
    assert words in found.found


@pytest.mark.parametrize(
    ("apart", "words"), [(3600, "1 h 0 min ahead of"), (-90, "1 min 30 s behi")]
)
def test_a_clock_that_is_off_is_noted(slurm: Path, apart: int, words: str) -> None:
    answering(slurm, report(), hello=time.time() + apart)
    found = examined(slurm)["clocks"]
    assert found.status == "note"
    assert words in found.found


def test_a_process_that_did_not_begin_is_missed(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile(tmp_path, monkeypatch, "devices: 2")
    script(slurm, "squeue", "echo '7|ablate-doctor|COMPLETED|None'")
    answering(slurm, report(visible="0,1", torch={"cuda": "12.8", "gpus": 2}))
    found = examined(slurm)
    assert found["processes"].found == "1 of 2 processes ran, on node7"
    assert found["processes"].status == "problem"


def test_what_the_probe_finds_here_is_what_is_here() -> None:
    found = probe.surroundings()
    assert (found["versions"], found["commit"]) == (versions(), git_commit())
    assert found["missing"] == []
    assert found["torch"]["gpus"] >= 0
    assert json.loads(json.dumps(found)) == found
