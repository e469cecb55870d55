"""What became of a job is read from its answer; Slurm's word is asked for where there is none."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ablate.files import write_json
from ablate.launch.liveness import Liveness
from ablate.launch.slurm import arrays
from ablate.launch.slurm.jobs import SlurmJob
from ablate.launch.slurm.scontrol import announce_job
from ablate.launch.slurm.squeue import Queue
from ablate.store.lease import Lease, Watch
from ablate.store.process import JOB, Process
from ablate.worker.outcome import Outcome

Says = Callable[[str], None]
pytestmark = pytest.mark.usefixtures("sleepless")


def job_of(drive: Path, chains: int = 1) -> SlurmJob:
    array = arrays.new(drive, [["key"]] * chains)
    array.number = "7"
    array.save()
    queue = Queue()
    queue.names.add(array.name)
    return SlurmJob(array, 0, queue, Liveness(drive.parent), time.monotonic())


def after_grace(job: SlurmJob) -> tuple[str, str]:
    assert job.poll() is None  # its answer may still come
    time.sleep(0.15)
    outcome = job.poll()
    assert outcome
    return outcome.status, outcome.message


@pytest.mark.parametrize(
    ("state", "status", "words"),
    [
        ("PREEMPTED", "stopped", "Slurm job 7: it was preempted"),
        ("TIMEOUT", "stopped", "Slurm job 7: it ran into its time limit"),
        ("NODE_FAIL", "stopped", "Slurm job 7: its node failed"),
        ("CANCELLED", "lost", "Slurm job 7 was cancelled"),
        ("FAILED", "lost", "Slurm job 7 died"),
        ("COMPLETED", "lost", "Slurm job 7 ended without an answer"),
        ("OUT_OF_MEMORY", "memory", "Slurm job 7 ran out of memory; set infra.slurm.mem higher"),
        ("", "lost", "Slurm job 7 is gone from Slurm's memory and left no answer"),
    ],
)
def test_a_job_without_an_answer_is_judged_by_its_last_state(
    tmp_path: Path, squeue: Says, state: str, status: str, words: str
) -> None:
    job = job_of(tmp_path / "d")
    squeue(f"7|ablate-d-1|{state}|None" if state else "")
    assert arrays.submitted(tmp_path / "d") == {"7": ["key"]}
    found, said = after_grace(job)
    assert found == status
    assert said.startswith(words)
    assert arrays.submitted(tmp_path / "d") == {"7": ()}  # other drivers wait for it no longer
    assert replace(job, outcome=None, ended=None).poll() == job.outcome  # nor who adopts it


def test_its_last_words_are_told(tmp_path: Path, squeue: Says) -> None:
    job = job_of(tmp_path / "d", 2)
    squeue("7_0|ablate-d-1|FAILED|None\n7_1|ablate-d-1|RUNNING|None")
    (job.array.folder / "7_0_0_log.err").write_text("one\nbash: modul: command not found\n\n")
    (job.array.folder / "7_1_0_log.err").write_text("another's\n")
    assert after_grace(job) == ("lost", "Slurm job 7_0 died: bash: modul: command not found")


def test_a_notice_to_go_that_nobody_listened_for_yet_is_no_loss(
    tmp_path: Path, squeue: Says
) -> None:
    job = job_of(tmp_path / "d")
    squeue("7|ablate-d-1|FAILED|None")
    said = "srun: error: fake3: task 0: User defined signal 2\n"
    (job.array.folder / "7_0_log.err").write_text(said)
    assert after_grace(job) == ("stopped", "Slurm job 7 was told to go before it had begun")


@pytest.mark.parametrize(
    ("state", "status"),
    [("FAILED", "setup"), ("", "setup"), ("CANCELLED", "lost"), ("TIMEOUT", "stopped")],
)
def test_a_job_that_a_set_up_line_ended_is_told_from_one_that_was_lost(
    tmp_path: Path, squeue: Says, state: str, status: str
) -> None:
    job = job_of(tmp_path / "d")
    squeue(f"7|ablate-d-1|{state}|None" if state else "")
    log = "bash: module: command not found\nset-up line failed: module load cuda/12\n"
    (job.array.folder / "7_0_log.err").write_text(log)
    found, said = after_grace(job)
    assert found == status
    quoted = "infra.slurm.setup, `module load cuda/12`: bash: module: command not found"
    assert (quoted in said) is (status == "setup")


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED"])
def test_a_job_that_is_alive_is_waited_for(tmp_path: Path, squeue: Says, state: str) -> None:
    job = job_of(tmp_path / "d")
    squeue(f"7|ablate-d-1|{state}|None")
    assert job.poll() is None
    time.sleep(0.15)
    assert job.poll() is None


def test_an_answer_counts_whatever_slurm_says_also_late(tmp_path: Path, squeue: Says) -> None:
    job = job_of(tmp_path / "d")
    squeue("7|ablate-d-1|FAILED|None")
    assert job.poll() is None
    write_json(job.array.answer(0), {"status": "done", "message": "", "step": ""})
    outcome = job.poll()
    assert outcome
    assert outcome.status == "done"


@pytest.mark.parametrize(
    ("state", "log", "status", "words"),
    [
        ("FAILED", "Detected 1 oom-kill event(s) in StepId=7.0.", "memory", "set infra.slurm.mem"),
        ("NODE_FAIL", "", "stopped", "its node failed"),
        ("FAILED", "srun: error: task 1: Killed", "lost", "process 1 of 2 died"),
        ("RUNNING", "", "lost", "process 1 of 2 died"),
    ],
)
def test_what_a_process_died_of_is_for_slurm_to_say_once_the_job_is_over(
    tmp_path: Path, squeue: Says, state: str, log: str, status: str, words: str
) -> None:
    job = job_of(tmp_path / "d")
    squeue("7|ablate-d-1|RUNNING|None")
    write_json(job.array.answer(0), {"status": "lost", "message": "process 1 of 2 died"})
    assert job.poll() is None
    squeue(f"7|ablate-d-1|{state}|None")
    (job.array.folder / "7_0_log.err").write_text(log)
    time.sleep(0.15 if state == "RUNNING" else 0.0)
    outcome = job.poll()
    assert outcome
    assert outcome.status == status
    assert words in outcome.message


def test_while_slurm_does_not_answer_nothing_is_lost(tmp_path: Path, squeue: Says) -> None:
    job = job_of(tmp_path / "d")
    squeue("away")
    for _ in range(3):
        assert job.poll() is None
        time.sleep(0.1)
    squeue("7|ablate-d-1|RUNNING|None")
    assert job.poll() is None


def holder(home: Path, job: str) -> Lease:
    """The lease of a step as a process of this Slurm job has it, that beats only when told to."""
    lease = Watch(patience=0).take(home / "leases" / "pretrain" / "one")
    assert lease
    lease.owner = replace(lease.owner, host="node1", machine="another", job=job)
    lease.beat()
    return lease


def waits_on(job: SlurmJob, patience: float = 0.3) -> bool:
    """Whether the job still counts as at work after twice the patience."""
    job.pulses.watch.patience = patience
    deadline = time.monotonic() + 2 * patience
    while job.poll() is None:
        if time.monotonic() > deadline:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("state", ["RUNNING", "REQUEUED"])
def test_a_job_whose_step_shows_no_life_is_lost_and_cancelled_whatever_slurm_says(
    tmp_path: Path, squeue: Says, state: str
) -> None:
    job = job_of(tmp_path / "d", 2)
    squeue(f"7_0|ablate-d-1|{state}|None\n7_1|ablate-d-1|RUNNING|None")
    log = job.array.folder / "7_0_0_log.err"
    log.write_text("epoch 3\n")
    with (tmp_path / "bin" / "scancel").open("a") as script:
        script.write(f"echo srun: got SIGCONT >>{log}\n")  # as it does when it is cancelled
    holder(tmp_path, "7_0")
    assert not waits_on(job)
    said = f"Slurm job 7_0 shows no life, though Slurm calls it {state}; it was cancelled: epoch 3"
    assert job.outcome == Outcome("lost", said, log="epoch 3\n")
    assert (tmp_path / "bin" / "cancelled").read_text() == "7_0\n"
    assert waits_on(replace(job, index=1, outcome=None))


@pytest.mark.parametrize(
    ("log", "status"),
    [("", "stopped"), ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0.", "memory")],
)
def test_a_job_that_slurm_ends_and_does_not_come_to_the_end_of_is_told_from_one_that_was_lost(
    tmp_path: Path, squeue: Says, log: str, status: str
) -> None:
    job = job_of(tmp_path / "d")
    squeue("7|ablate-d-1|COMPLETING|None")
    (job.array.folder / "7_0_log.err").write_text(log)
    holder(tmp_path, "7")
    assert not waits_on(job)
    assert job.outcome
    assert job.outcome.status == status


def test_a_job_that_has_begun_no_step_or_given_it_back_is_not_touched(
    tmp_path: Path, squeue: Says
) -> None:
    job = job_of(tmp_path / "d")
    squeue("7|ablate-d-1|RUNNING|None")
    assert waits_on(job)
    holder(tmp_path, "6")  # of the attempt before, which was killed
    assert waits_on(job)
    holder(tmp_path, "7").release()
    assert waits_on(job)
    assert not (tmp_path / "bin" / "cancelled").exists()


def test_a_slow_owner_is_waited_for(tmp_path: Path, squeue: Says) -> None:
    job = job_of(tmp_path / "d")
    squeue("7|ablate-d-1|RUNNING|None")
    lease, job.pulses.watch.patience = holder(tmp_path, "7"), 0.5
    for _ in range(5):
        time.sleep(0.3)
        lease.beat()
        assert job.poll() is None
    assert not waits_on(job, 0.5)


@pytest.mark.parametrize("said", ["7|ablate-d-1|SUSPENDED|None", "away"])
def test_silence_proves_nothing_while_slurm_holds_the_job_still_or_does_not_answer(
    tmp_path: Path, squeue: Says, said: str
) -> None:
    job = job_of(tmp_path / "d")
    squeue(said)
    holder(tmp_path, "7")
    assert waits_on(job)
    squeue("7|ablate-d-1|RUNNING|None")
    assert not waits_on(job)


def test_a_silent_job_that_cannot_be_cancelled_now_is_cancelled_later(
    tmp_path: Path, squeue: Says
) -> None:
    job = job_of(tmp_path / "d")
    squeue("7|ablate-d-1|RUNNING|None")
    holder(tmp_path, "7")
    cancels = (tmp_path / "bin" / "scancel").read_text()
    (tmp_path / "bin" / "scancel").write_text("#!/bin/sh\nexit 1\n")
    assert waits_on(job)
    (tmp_path / "bin" / "scancel").write_text(cancels)
    assert not waits_on(job)


def test_one_question_is_for_all_jobs(
    tmp_path: Path, squeue: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.launch.slurm.squeue.ASK", 60.0)
    job = job_of(tmp_path / "d", 50)
    squeue("\n".join(f"7_{n}|ablate-d-1|RUNNING|None" for n in range(50)))
    others = [SlurmJob(job.array, n, job.queue, job.pulses, job.since) for n in range(50)]
    assert [other.poll() for other in others] == [None] * 50
    assert len((tmp_path / "bin" / "asked").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("said", "job"),
    [({}, ""), ({"JOB_ID": "7"}, "7"), ({"JOB_ID": "9", "ARRAY_JOB_ID": "7"}, "7_2")],
)
def test_a_job_knows_its_number_as_squeue_has_it(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], job: str
) -> None:
    monkeypatch.setenv(JOB, "another")
    for name in ("JOB_ID", "ARRAY_JOB_ID"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    for name, value in {**said, "ARRAY_TASK_ID": "2"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    announce_job()
    assert Process.this().job == job
