"""Chains go out as arrays within a limit; what befalls them is told, and nothing is left behind."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ablate.commands.live_view import describe
from ablate.config.infra import Infra
from ablate.config.study import Study, load_study
from ablate.driver.scheduler import Event, drive
from ablate.driver.sessions import Drive
from ablate.files import write_json
from ablate.launch.backends import Inline, open_backend
from ablate.launch.slurm import arrays
from ablate.launch.slurm import jobs as slurm
from ablate.launch.slurm.arrays import Array
from ablate.launch.slurm.jobs import OnSlurm
from ablate.store.lease import Process
from ablate.store.steps import Step

Says = Callable[[str], None]


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


def test_that_slurm_does_not_answer_is_told_and_that_it_does_again(
    tmp_path: Path, squeue: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "LATER", 0.0)
    here = backend(tmp_path, None)
    squeue("away")
    assert here.start(chains(1)) == [None]
    assert here.notice == "Slurm does not answer; waiting for it"
    squeue("1|ablate-d-1|RUNNING|None")
    (job,) = here.start(chains(1))
    assert here.notice == "Slurm answers again"
    squeue("away")  # with the job at work
    assert job
    assert job.poll() is None
    here.start([])
    assert here.notice == "Slurm does not answer; waiting for it"
    here.close()
    assert here.notice == "Slurm does not answer; once it does, `scancel 1` ends what it runs"


def test_a_driver_tells_once_what_its_backend_has_to_say(
    small: Study, own_home: Path, fakes: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Inline, "notice", "the weather is bad")
    said: list[Event] = []
    drive(small, backend="inline", home=own_home, executors=fakes, on_event=said.append)
    told = [describe(event) for event in said if event.what == "notice"]
    assert told == ["the weather is bad"]


def test_jobs_that_take_their_time_to_end_are_named_by_a_driver_that_goes(
    tmp_path: Path, squeue: Says
) -> None:
    here = backend(tmp_path, None)
    here.start(chains(1))
    squeue("1|ablate-d-1|COMPLETING|None")
    here.close()
    assert here.notice == "jobs still ending, of which Slurm takes care: 1"


def test_a_step_whose_job_a_set_up_line_ends_has_failed_and_is_not_tried_again(
    own_home: Path, tmp_path: Path, squeue: Says, fakes: Mapping[str, str]
) -> None:
    """The fake sbatch is the node, too: it runs the script."""
    sent = tmp_path / "bin" / "sbatch"
    run = 'bash "$1" 2>"$(dirname "$1")/1_0_log.err"'
    sent.write_text(f"{sent.read_text()}{run}\nexit 0\n")
    squeue("1|ablate-d-1|FAILED|NonZeroExitCode")
    explore = {"kind": "arms", "axis": "none", "arms": [{"name": "base"}]}
    study = load_study(
        "micro/smoke",
        [
            f"explore={json.dumps(explore)}",
            "base.recipe.prealign=null",
            "infra.slurm.setup=['true', 'module load cuda/12']",
            "seeds=[0]",
        ],
    )
    folder, said = own_home / "drives" / "d", list[Event]()
    drive(study, None, "slurm", home=own_home, folder=folder, executors=fakes, on_event=said.append)
    assert [event.what for event in said] == ["submitted", "failed"]
    assert "infra.slurm.setup, `module load cuda/12`: " in said[-1].message
    assert said[-1].message.endswith("module: command not found")
    (record,) = own_home.glob("failed/*/*/record.json")
    assert json.loads(record.read_text())["error"]["type"] == "SetUp"
    assert len((tmp_path / "bin" / "sent").read_text().splitlines()) == 1


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
