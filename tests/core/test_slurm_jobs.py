"""What became of a job is read from its answer; Slurm's word is asked for where there is none."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ablate import arrays, slurm
from ablate.arrays import Array
from ablate.drives import Drive
from ablate.files import write_json
from ablate.infra import Infra
from ablate.launch import open_backend
from ablate.lease import Lease, Process, Watch
from ablate.slurm import OnSlurm, Pulses, SlurmJob
from ablate.squeue import Queue
from ablate.steps import Step
from ablate.worker import Outcome

Says = Callable[[str], None]


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Says:
    """Makes squeue print this, and counts how often it is asked; `away`: it fails."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def says(text: str) -> None:
        end = "exit 1" if text == "away" else f"cat <<'E'\n{text}\nE"
        write(folder / "squeue", f"echo >>{folder}/asked\n{end}")

    def write(path: Path, script: str) -> None:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    write(folder / "srun", "")
    write(folder / "scancel", f"echo $@ >>{folder}/cancelled")
    write(folder / "scontrol", f"echo $@ >>{folder}/updated")
    write(folder / "sbatch", f"echo x >>{folder}/sent; echo job $(wc -l <{folder}/sent)")
    says("")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("ablate.squeue.ASK", 0.0)
    monkeypatch.setattr(slurm, "BEAT", 0.1)
    monkeypatch.setattr(slurm, "GRACE", 0.1)
    monkeypatch.setattr(slurm, "LEAVE", 0.1)
    return says


def job_of(drive: Path, chains: int = 1) -> SlurmJob:
    array = arrays.new(drive, [["key"]] * chains, chains)
    array.number = "7"
    array.save()
    queue = Queue()
    queue.names.add(array.name)
    return SlurmJob(array, 0, queue, Pulses(drive.parent), time.monotonic())


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
    found, said = after_grace(job)
    assert found == status
    assert said.startswith(words)


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
    monkeypatch.setattr("ablate.squeue.ASK", 60.0)
    job = job_of(tmp_path / "d", 50)
    squeue("\n".join(f"7_{n}|ablate-d-1|RUNNING|None" for n in range(50)))
    others = [SlurmJob(job.array, n, job.queue, job.pulses, job.since) for n in range(50)]
    assert [other.poll() for other in others] == [None] * 50
    assert len((tmp_path / "bin" / "asked").read_text().splitlines()) == 1


def chains(number: int) -> list[list[Step]]:
    return [[Step("pretrain", "one", {"n": n})] for n in range(number)]


def backend(home: Path, jobs: int | None) -> OnSlurm:
    found = open_backend("slurm", jobs, home, home / "drives" / "d", Infra(device="cpu"))
    assert isinstance(found, OnSlurm)
    return found


def at_once(home: Path) -> list[tuple[int, int]]:
    return [(len(one.chains), one.at_once) for one in arrays.arrays(home / "drives" / "d")]


def answer(array: Array, indices: list[int]) -> None:
    for index in indices:
        write_json(array.answer(index), {"status": "done", "message": "", "step": ""})


def test_the_limit_holds_over_all_arrays(tmp_path: Path, squeue: Says) -> None:
    here = backend(tmp_path, 3)
    squeue("\n".join(f"{a}_{n}|ablate-d-{a}|PENDING|None" for a in (1, 2) for n in range(9)))
    first = here.start(chains(5))
    assert None not in first
    assert here.start(chains(2)) == [None, None]  # three of the first may be running
    answer(arrays.arrays(tmp_path / "drives" / "d")[0], [0, 1, 2])
    assert None not in here.start(chains(4))
    assert at_once(tmp_path) == [(5, 3), (4, 1)]
    answer(arrays.arrays(tmp_path / "drives" / "d")[0], [3])
    assert here.start([]) == []  # the second has what the first left
    assert at_once(tmp_path) == [(5, 3), (4, 2)]
    asked = (tmp_path / "bin" / "updated").read_text()
    assert asked == "update JobId=2 ArrayTaskThrottle=2\n"


def test_an_array_has_the_room_that_scontrol_gave_it_and_complained(
    tmp_path: Path, squeue: Says
) -> None:
    here = backend(tmp_path, 2)
    squeue("\n".join(f"{a}_{n}|ablate-d-{a}|PENDING|None" for a in (1, 2) for n in range(3)))
    (tmp_path / "bin" / "scontrol").write_text("#!/bin/sh\necho 2_0: already finished; exit 1\n")
    here.start(chains(1))
    here.start(chains(3))
    answer(arrays.arrays(tmp_path / "drives" / "d")[0], [0])
    here.start([])
    assert at_once(tmp_path) == [(1, 1), (3, 2)]
    assert here.start(chains(1)) == [None]


def test_without_a_limit_all_may_run(tmp_path: Path, squeue: Says) -> None:
    here = backend(tmp_path, None)
    assert None not in here.start(chains(5))
    assert None not in here.start(chains(4))
    assert at_once(tmp_path) == [(5, 5), (4, 4)]


def test_while_sbatch_is_refused_by_a_controller_that_is_away_chains_wait(
    tmp_path: Path, squeue: Says
) -> None:
    here = backend(tmp_path, None)
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho cannot contact slurmctld >&2; exit 1")
    squeue("away")
    assert here.start(chains(2)) == [None, None]
    assert at_once(tmp_path) == []


def test_closing_cancels_what_has_not_answered_and_nothing_else(
    tmp_path: Path, squeue: Says
) -> None:
    here = backend(tmp_path, None)
    here.start(chains(3))
    squeue("\n".join(f"1_{n}|ablate-d-1|RUNNING|None" for n in range(3)))
    answer(arrays.arrays(tmp_path / "drives" / "d")[0], [1])
    here.close()
    assert (tmp_path / "bin" / "cancelled").read_text() == "1_0 1_2\n"


def test_what_was_being_submitted_when_the_user_stopped_is_cancelled_by_its_name(
    tmp_path: Path, squeue: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> str:
        raise KeyboardInterrupt

    here = backend(tmp_path, None)
    monkeypatch.setattr(slurm, "submit", stop)
    with pytest.raises(KeyboardInterrupt):
        here.start(chains(2))
    here.close()
    assert (tmp_path / "bin" / "cancelled").read_text().split("\n")[0] == "--name=ablate-d-1"


def test_an_array_that_was_named_but_not_numbered_is_cancelled_by_its_name(
    tmp_path: Path, squeue: Says
) -> None:
    arrays.new(tmp_path / "d", [["a"], ["b"]], 2)
    slurm.scancel(Drive(tmp_path / "d", "study", Process.this()).jobs())
    assert (tmp_path / "bin" / "cancelled").read_text() == "--name=ablate-d-1\n"


def test_what_a_drive_holds_is_for_its_user_alone(tmp_path: Path, squeue: Says) -> None:
    backend(tmp_path, None).start(chains(2))
    for folder in (tmp_path / "drives" / "d").glob("array-*"):
        assert folder.stat().st_mode & 0o077 == 0
