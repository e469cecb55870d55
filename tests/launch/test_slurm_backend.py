"""Chains go out as arrays within a limit; what befalls them is told, and nothing is left behind."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import core_fakes
import pytest

from ablate.commands.live_view import describe
from ablate.config.infra import Infra
from ablate.config.study import Study, load_study
from ablate.driver.events import Event
from ablate.driver.scheduler import drive
from ablate.errors import UserError
from ablate.files import write_json
from ablate.launch.backends import open_backend
from ablate.launch.drives import DriverSession
from ablate.launch.inline.chains import InProcess
from ablate.launch.slurm import arrays
from ablate.launch.slurm import jobs as slurm
from ablate.launch.slurm.arrays import Array
from ablate.launch.slurm.jobs import OnSlurm
from ablate.store.process import Process
from ablate.store.steps import Step

Says = Callable[[str], None]


def chains(number: int) -> list[list[Step]]:
    return [[Step("pretrain", "one", {"n": n})] for n in range(number)]


def backend(home: Path, jobs: int | None) -> OnSlurm:
    found = open_backend("slurm", jobs, home, home / "drives" / "d", Infra(device="cpu"))
    assert isinstance(found, OnSlurm)
    return found


def lengths(home: Path) -> list[int]:
    return [len(one.chains) for one in arrays.arrays(home / "drives" / "d")]


def answer(array: Array, indices: list[int]) -> None:
    for index in indices:
        write_json(array.answer(index), {"status": "done", "message": "", "step": ""})


def test_no_more_are_submitted_than_may_be(tmp_path: Path, squeue: Says) -> None:
    assert backend(tmp_path, 3).slots == 3
    assert backend(tmp_path, None).slots == sys.maxsize


def test_no_array_is_longer_than_slurm_takes(tmp_path: Path, squeue: Says) -> None:
    (tmp_path / "bin" / "scontrol").write_text("#!/bin/sh\necho 'MaxArraySize            = 4'\n")
    here = backend(tmp_path, None)
    assert None not in here.start(chains(10))
    assert lengths(tmp_path) == [4, 4, 2]


def limited(tmp_path: Path, most: int, word: str = "QOSMaxSubmitJobPerUserLimit") -> None:
    """An sbatch that takes so many jobs in all, which `queue` counts."""
    folder = tmp_path / "bin"
    (folder / "queue").write_text("0")
    (folder / "sbatch").write_text(
        "#!/bin/sh\n"
        f"cd {folder}; echo x >>tried\n"
        'last=$(sed -n "s/#SBATCH --array=0-\\([0-9]*\\).*/\\1/p" $1)\n'
        "new=$(($(cat queue) + ${last:-0} + 1))\n"
        f"if [ $new -gt {most} ]; then echo sbatch: error: {word} >&2; exit 1; fi\n"
        "echo $new >queue; echo x >>sent; echo job $(wc -l <sent)\n"
    )


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_what_a_limit_on_submitted_jobs_leaves_out_follows_as_jobs_end(
    tmp_path: Path, squeue: Says, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(slurm, "LATER", 0.0)
    limited(tmp_path, most)
    here = backend(tmp_path, None)
    squeue("\n".join(f"{n}|ablate-d-{n}|RUNNING|None" for n in range(9)))
    first = here.start(chains(6))
    assert [job is not None for job in first] == [True] * most + [False] * (6 - most)
    assert here.notice.startswith("Slurm takes no more jobs now (QOSMaxSubmitJobPerUserLimit)")
    assert here.start(chains(6)) == [None] * 6  # which is no error, and is not said anew
    (tmp_path / "bin" / "queue").write_text(str(most - 1))
    assert [job is not None for job in here.start(chains(6))] == [True] + [False] * 5


def test_after_a_refusal_for_a_limit_sbatch_is_left_alone_for_a_while(
    tmp_path: Path, squeue: Says
) -> None:
    limited(tmp_path, 0)
    here = backend(tmp_path, None)
    for _ in range(5):
        assert here.start(chains(4)) == [None] * 4
    assert len((tmp_path / "bin" / "tried").read_text().splitlines()) == 3  # 4, 2 and 1 jobs


def test_a_reason_that_may_be_a_limit_is_waited_for_only_while_there_are_jobs(
    tmp_path: Path, squeue: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "LATER", 0.0)
    limited(tmp_path, 1, "job submit limit, user size or time limits")
    here = backend(tmp_path, None)
    squeue("1|ablate-d-1|RUNNING|None")
    assert [job is not None for job in here.start(chains(2))] == [True, False]
    other = backend(tmp_path, None)
    with pytest.raises(UserError, match=r"sbatch refused: .*job submit limit"):
        other.start(chains(1))


def test_a_study_comes_to_its_end_under_a_limit_and_says_so_once(
    own_home: Path, tmp_path: Path, squeue: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake sbatch is the node, too: it runs the script, unless another is at work."""
    monkeypatch.setattr(slurm, "LATER", 0.0)
    limited(tmp_path, 1)
    script = tmp_path / "bin" / "sbatch"
    done = 'echo \'{"status": "failed", "message": "no"}\' >$(dirname $1)/0.outcome.json'
    script.write_text(f"{script.read_text()}(sleep 1; {done}; echo 0 >queue) >/dev/null 2>&1 &\n")
    said = list[Event]()
    study = load_study("micro/smoke", ["seeds=[0]"])
    executors = core_fakes.EXECUTORS  # without a preflight, which this node could not answer
    drive(study, 1, "slurm", home=own_home, on_event=said.append, executors=executors)
    notices = [event.message for event in said if event.what == "notice"]
    assert len([one for one in notices if "takes no more jobs now" in one]) == 1
    assert [event.what for event in said].count("failed") >= 1


def test_jobs_that_have_answered_and_do_not_end_are_named_and_cancelled(
    tmp_path: Path, squeue: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "ENDING", 0.2)
    here = backend(tmp_path, None)
    here.start(chains(3))
    squeue("\n".join(f"1_{n}|ablate-d-1|RUNNING|None" for n in range(3)))
    answer(arrays.arrays(tmp_path / "drives" / "d")[0], [0, 2])
    here.start([])
    assert not (tmp_path / "bin" / "cancelled").exists()  # it may take its time
    time.sleep(0.3)
    for _ in range(2):
        here.start([])
        assert here.notice == "jobs that have answered and do not end, cancelled: 1_0 1_2"
    assert (tmp_path / "bin" / "cancelled").read_text() == "1_0 1_2\n"
    squeue("1_1|ablate-d-1|RUNNING|None")
    here.start([])
    assert here._stuck == []
    assert len(here.arrays) == 1
    answer(arrays.arrays(tmp_path / "drives" / "d")[0], [1])
    squeue("")
    here.start([])
    assert here.arrays == []
    assert here.close()


def test_while_sbatch_is_refused_by_a_controller_that_is_away_chains_wait(
    tmp_path: Path, squeue: Says
) -> None:
    here = backend(tmp_path, None)
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho cannot contact slurmctld >&2; exit 1")
    squeue("away")
    assert here.start(chains(2)) == [None, None]
    assert lengths(tmp_path) == []


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
    monkeypatch.setattr(InProcess, "notice", "the weather is bad")
    said: list[Event] = []
    drive(small, backend="inline", home=own_home, executors=fakes, on_event=said.append)
    told = [describe(event) for event in said if event.what == "notice"]
    assert told == ["the weather is bad"]


def test_jobs_that_take_their_time_to_end_are_named_by_a_driver_that_goes(
    tmp_path: Path, squeue: Says
) -> None:
    here = backend(tmp_path, None)
    here.start(chains(2))
    answer(arrays.arrays(tmp_path / "drives" / "d")[0], [0])
    squeue("1_0|ablate-d-1|COMPLETING|None\n1_1|ablate-d-1|RUNNING|None")
    assert not here.close()
    assert here.notice.startswith("jobs still ending, cancelled: 1; `scancel --signal=KILL")
    assert (tmp_path / "bin" / "cancelled").read_text() == "1_1\n1\n"


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


def test_closing_cancels_what_has_not_answered_and_then_what_does_not_end(
    tmp_path: Path, squeue: Says
) -> None:
    here = backend(tmp_path, None)
    here.start(chains(3))
    squeue("\n".join(f"1_{n}|ablate-d-1|RUNNING|None" for n in range(3)))
    answer(arrays.arrays(tmp_path / "drives" / "d")[0], [1])
    here.close()
    assert (tmp_path / "bin" / "cancelled").read_text() == "1_0 1_2\n1\n"


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
    arrays.new(tmp_path / "d", [["a"], ["b"]])
    slurm.scancel(DriverSession(tmp_path / "d", "study", Process.this()).jobs())
    assert (tmp_path / "bin" / "cancelled").read_text() == "--name=ablate-d-1\n"


def test_what_a_drive_holds_is_for_its_user_alone(tmp_path: Path, squeue: Says) -> None:
    backend(tmp_path, None).start(chains(2))
    for folder in (tmp_path / "drives" / "d").glob("array-*"):
        assert folder.stat().st_mode & 0o077 == 0
