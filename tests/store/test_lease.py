"""One owner at a time: the dead are succeeded, the slow and the distant are not."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from clocks import Clock

from ablate.polling import wait_until
from ablate.store.lease import PATIENCE, Watch, look
from ablate.store.process import JOB, Process

HOLD = """
import sys, time
from pathlib import Path
from ablate.store.lease import Watch
with Watch().take(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """A process that holds the lease."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def elsewhere(folder: Path, beat: int) -> None:
    """The lease as a worker on another machine writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    owner = asdict(replace(Process.this(), machine="another machine", pid=1))
    fields = {"owner": owner, "released": False, "done": 1, "total": 2, "note": "", "seconds": 3.0}
    (folder / "1.json").write_text(json.dumps({**fields, "beat": beat}))


def test_a_held_lease_is_not_given_again(tmp_path: Path) -> None:
    first = Watch().take(tmp_path / "lease")
    assert first
    assert Watch().take(tmp_path / "lease") is None
    first.release()
    second = Watch().take(tmp_path / "lease")
    assert second
    assert (first.number, second.number) == (1, 2)
    assert second.held()
    assert not first.held()


def test_of_many_at_once_one_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablate.store.lease.BEAT", 0.01)  # to wait where one is still being written
    for turn in range(20):
        taken: list[object] = []
        start = threading.Barrier(8)

        def grab(taken: list[object], start: threading.Barrier, folder: Path) -> None:
            start.wait()
            if lease := Watch().take(folder):
                taken.append(lease)

        folder = tmp_path / str(turn)
        threads = [threading.Thread(target=grab, args=(taken, start, folder)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == 1


def test_a_killed_owner_is_succeeded_at_once(tmp_path: Path) -> None:
    process = holder(tmp_path / "lease")
    assert Watch().take(tmp_path / "lease") is None
    process.kill()
    process.wait()
    began = time.monotonic()
    lease = Watch().take(tmp_path / "lease")
    assert lease
    assert lease.number == 2
    assert time.monotonic() - began < PATIENCE


def test_a_stopped_owner_on_this_machine_is_waited_for(tmp_path: Path) -> None:
    process = holder(tmp_path / "lease")
    os.kill(process.pid, signal.SIGSTOP)
    try:
        watch = Watch(patience=0)
        assert watch.take(tmp_path / "lease") is None
        time.sleep(0.1)
        assert watch.take(tmp_path / "lease") is None
    finally:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("sleepless")
def test_a_lease_is_silent_whose_owner_shows_no_life_wherever_it_is(tmp_path: Path) -> None:
    process, watch = holder(tmp_path / "lease"), Watch(patience=0.1)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        assert watch.silent(tmp_path / "lease") is None
        time.sleep(0.2)
        found = watch.silent(tmp_path / "lease")
        assert found
        assert found.owner
        assert found.owner.pid == process.pid
    finally:
        process.kill()
        process.wait()
    lease = Watch().take(tmp_path / "lease")
    assert lease
    lease.release()
    for _ in range(3):
        assert watch.silent(tmp_path / "lease") is None
        time.sleep(0.2)
    assert watch.silent(tmp_path / "no lease") is None


def test_an_owner_says_which_job_it_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB, raising=False)
    assert Process.this().job == ""
    monkeypatch.setenv(JOB, "7_2")
    assert Process.this().job == "7_2"


def test_a_later_process_of_the_same_number_is_not_the_owner(tmp_path: Path) -> None:
    lease = Watch().take(tmp_path / "lease")
    assert lease
    lease.owner = replace(lease.owner, born="1")
    lease._write()
    assert Watch().held(tmp_path / "lease") is None


@pytest.mark.usefixtures("sleepless")
def test_a_distant_owner_that_beats_is_waited_for_one_that_is_still_is_not(tmp_path: Path) -> None:
    folder, watch = tmp_path / "lease", Watch(patience=0.2)
    for beat in range(5):
        elsewhere(folder, beat)
        assert watch.held(folder)
        time.sleep(0.1)
    time.sleep(0.2)
    assert watch.held(folder) is None
    assert watch.take(folder)


def test_a_worker_waits_for_the_next_beat_of_a_distant_owner(
    tmp_path: Path, sleepless: Clock
) -> None:
    folder = tmp_path / "lease"
    elsewhere(folder, 1)
    sleepless.asleep = lambda: elsewhere(folder, 2)
    assert Watch(patience=1.5).take(folder) is None
    assert sleepless.passed == 1.5
    assert Watch(patience=1.5).take(folder)  # it beats no more
    assert sleepless.passed >= 3.0


def test_the_time_in_which_nobody_could_look_makes_no_owner_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, now = Watch(), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    elsewhere(tmp_path / "lease", 1)
    for _ in range(3):  # the file system hangs for an hour, twice
        assert watch.held(tmp_path / "lease")
        now[0] += 3600
    for _ in range(20):
        now[0] += 2
        watch.held(tmp_path / "lease")
    assert watch.held(tmp_path / "lease") is None


def test_the_age_of_a_lease_does_not_matter_only_that_it_is_still(tmp_path: Path) -> None:
    elsewhere(tmp_path / "lease", 1)
    os.utime(tmp_path / "lease" / "1.json", (0, 0))
    assert Watch().held(tmp_path / "lease")


@pytest.mark.usefixtures("sleepless")
def test_a_lease_its_owner_never_finished_writing_is_taken_after_a_while(tmp_path: Path) -> None:
    folder, watch = tmp_path / "lease", Watch(patience=0.1)
    folder.mkdir()
    (folder / "1.json").write_text('{"own')
    assert watch.held(folder)
    time.sleep(0.2)
    assert watch.take(folder)


def test_a_lease_that_finds_the_disk_full_leaves_nothing_to_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, text: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        Watch().take(tmp_path / "lease")
    monkeypatch.undo()
    assert Watch().take(tmp_path / "lease")


def test_a_lease_in_use_beats_by_itself_and_says_how_far_its_step_is(tmp_path: Path) -> None:
    folder = tmp_path / "lease"
    lease = Watch().take(folder)
    assert lease
    before = look(folder)
    assert before
    assert before.total == 0
    with lease:
        lease.done, lease.total, lease.note = 3, 4, "loss 0.1"
        assert wait_until(60, lambda: getattr(look(folder), "total", 0) > 0, pause=0.1)
        after = look(folder)
    assert after
    assert (after.done, after.total, after.note) == (3, 4, "loss 0.1")
    assert not lease.lost


def test_an_owner_notices_that_it_was_succeeded(tmp_path: Path) -> None:
    lease = Watch().take(tmp_path / "lease")
    assert lease
    lease.beat()
    assert not lease.lost
    (tmp_path / "lease" / "2.json").write_bytes(lease.text())
    lease.beat()
    assert lease.lost


def test_time_spent_adds_up_over_owners(tmp_path: Path) -> None:
    elsewhere(tmp_path / "lease", 1)
    lease = Watch(patience=0).take(tmp_path / "lease")
    assert lease
    assert lease.seconds >= 3.0
