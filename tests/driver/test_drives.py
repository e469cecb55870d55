"""A driver's jobs are its own while it lives, and another's of its study once it is dead."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ablate.driver import sessions
from ablate.driver.sessions import SessionOwnership, TakenOverError
from ablate.files import read_json, write_json
from ablate.launch.drives import drives
from ablate.launch.slurm import arrays
from ablate.store.lease import Watch
from ablate.store.process import Process

ELSEWHERE = replace(Process.this(), host="login2", machine="another")


@contextmanager
def tenure(
    home: Path, study: str = "micro/smoke", patience: float = 30
) -> Iterator[SessionOwnership]:
    with closing(SessionOwnership(home, study, Watch(patience), "slurm")) as mine:
        mine.acquire(home / "drives" / "mine")
        yield mine


def left(home: Path, owner: Process | None, study: str = "micro/smoke") -> Path:
    """A drive with one job of the steps `a` and `b`, held by `owner` (None: given back)."""
    folder = home / "drives" / "other"
    lease = Watch().take(folder / "lease")
    assert lease
    lease.owner = owner or lease.owner
    lease._write(released=owner is None)
    write_json(folder / "driver.json", {"study": study, "process": asdict(lease.owner)})
    arrays.new(folder, [["a", "b"]])
    return folder


def test_what_a_living_driver_has_submitted_is_left_to_it(tmp_path: Path) -> None:
    folder = left(tmp_path, Process.this(), "another/study")
    with tenure(tmp_path) as mine:
        assert mine.take_over_dead() == []
        assert mine.spoken_for == {"a", "b"}
        (array,) = arrays.arrays(folder)
        write_json(array.answer(0), {"status": "done"})
        assert mine.take_over_dead() == []
        assert mine.spoken_for == set()
    assert folder.exists()


def test_the_drive_of_a_dead_driver_is_taken_by_one_of_its_study_alone(tmp_path: Path) -> None:
    folder = left(tmp_path, None)
    with tenure(tmp_path, "another/study") as theirs:
        assert theirs.take_over_dead() == []
        assert theirs.spoken_for == set()
    with tenure(tmp_path) as mine:
        assert mine.take_over_dead() == [folder]
        assert mine.take_over_dead() == []
        assert read_json(folder / "driver.json")["process"] == asdict(Process.this())
        with closing(SessionOwnership(tmp_path, "micro/smoke", Watch(), "slurm")) as second:
            assert second.take_over_dead() == []
            assert second.spoken_for == {"a", "b"}
        mine.remove()
    assert not list((tmp_path / "drives").iterdir())


class Late(Watch):
    """One whose process finds a lease free, and another process takes it first."""

    def take(self, folder: Path) -> None:
        return None


def test_of_two_that_find_a_driver_dead_the_later_leaves_its_jobs_to_the_first(
    tmp_path: Path,
) -> None:
    left(tmp_path, None)
    with closing(SessionOwnership(tmp_path, "micro/smoke", Late(), "slurm")) as later:
        assert later.take_over_dead() == []
        assert later.spoken_for == {"a", "b"}


def test_a_driver_on_another_machine_counts_as_living_until_it_is_silent_for_long(
    tmp_path: Path,
) -> None:
    folder = left(tmp_path, ELSEWHERE)
    with tenure(tmp_path) as mine:
        assert mine.take_over_dead() == []
        assert mine.spoken_for == {"a", "b"}
    with tenure(tmp_path, patience=0) as mine:
        mine.take_over_dead()
        assert mine.take_over_dead() == [folder]


def test_a_driver_that_was_taken_for_dead_stops(tmp_path: Path) -> None:
    with tenure(tmp_path) as mine:
        other = Watch(0)
        lease = tmp_path / "drives" / "mine" / "lease"
        (lease / "2.json").write_bytes((lease / "1.json").read_bytes())
        for held in mine._leases.values():
            held.beat()
        with pytest.raises(TakenOverError):
            mine.take_over_dead()
        assert other.held(lease)


@pytest.mark.parametrize("study", ["micro/smoke", "another/study"])
def test_a_dead_drive_of_no_use_is_removed(
    tmp_path: Path, squeue: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, study: str
) -> None:
    monkeypatch.setattr(sessions, "ASK", 0.0)
    folder = left(tmp_path, None, study)
    (array,) = arrays.arrays(folder)
    array.number = "7"
    array.save()
    write_json(array.answer(0), {"status": "done"})
    squeue("7|ablate-other-1|COMPLETING|None")  # it has answered, and holds its node still
    with tenure(tmp_path) as mine:
        assert mine.take_over_dead() == ([folder] if study == "micro/smoke" else [])
    assert folder.exists()
    squeue("")
    with tenure(tmp_path) as mine:
        assert mine.take_over_dead() == []
    assert not folder.exists()


def test_a_driver_that_waits_in_the_queue_keeps_its_drive(tmp_path: Path) -> None:
    folder = tmp_path / "drives" / "other"
    sessions.begin(folder, "micro/smoke", "slurm")
    write_json(folder / "driver-job.json", "12")
    with tenure(tmp_path) as mine:
        assert mine.take_over_dead() == []
    (found,) = (one for one in drives(tmp_path) if one.folder == folder)
    assert (found.own_job, found.jobs()) == ("12", {"12": ()})


def test_a_drive_is_for_its_user_alone(tmp_path: Path) -> None:
    with tenure(tmp_path):
        assert (tmp_path / "drives" / "mine").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"study": 3}'])
@pytest.mark.parametrize("name", ["driver.json", "array-1/array.json", "driver-job.json"])
def test_a_drive_that_cannot_be_read_stops_nobody(tmp_path: Path, name: str, text: str) -> None:
    (left(tmp_path, Process.this()) / name).write_text(text)
    with tenure(tmp_path) as mine:
        assert mine.take_over_dead() == []
        assert mine.spoken_for <= {"a", "b"}


def test_an_array_that_is_not_as_it_was_written_cancels_nobody_elses_job(tmp_path: Path) -> None:
    array = arrays.new(tmp_path / "d", [["a"], ["b"]])
    array.number = "41"
    array.save()
    (tmp_path / "d" / "array-1 (copy)").mkdir()
    assert list(arrays.left_behind(tmp_path / "d")) == ["41_0", "41_1"]
    written = array.folder / "array.json"
    written.write_text(written.read_text().replace('"41"', '"45"'))
    assert arrays.left_behind(tmp_path / "d") == {}
    assert arrays.new(tmp_path / "d", [["c"]]).folder.name == "array-2"
