"""Artifacts are seen whole or not at all, and damage is noticed."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.errors import UserError
from ablate.files import atomic_file, remove_temporary, writing
from ablate.store.artifacts import BadArtifactError, Store
from ablate.store.record import record
from ablate.store.steps import Step

STEP = Step("pretrain", "thing", {"a": 1})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def make(store: Store, step: Step = STEP, text: str = "payload") -> None:
    """The work folder of a step that is ready to be committed."""
    folder = store.work(step) / "parts"
    folder.mkdir(parents=True)
    (folder / "weights").write_text(text)
    (store.work(step) / "metrics.jsonl").write_text("{}\n")


def commit(store: Store, step: Step = STEP) -> None:
    make(store, step)
    store.commit(step, record(step, "done"))


def test_a_commit_moves_the_work_folder_in_whole(store: Store) -> None:
    assert store.record(STEP) is None
    commit(store)
    found = store.record(STEP)
    assert found
    assert found["status"] == "done"
    assert not store.work(STEP).exists()
    files = {path.name for path in store.folder(STEP).rglob("*") if path.is_file()}
    assert files == {"spec.json", "record.json", "manifest.json", "metrics.jsonl", "weights"}
    assert store.verified(STEP) == store.folder(STEP)


def test_a_commit_cut_short_anywhere_shows_nothing_and_is_recovered_or_made_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"left": 0}
    flush, rename = os.fsync, Path.rename

    def limited(function: Any) -> Any:
        def call(*given: Any) -> Any:
            calls["left"] -= 1
            if calls["left"] < 0:
                raise KeyboardInterrupt
            return function(*given)

        return call

    monkeypatch.setattr(os, "fsync", limited(flush))
    monkeypatch.setattr(Path, "rename", limited(rename))
    for survived in range(100):
        step = Step("pretrain", "thing", {"cut": survived})
        make(store, step)
        calls["left"] = survived
        try:
            store.commit(step, record(step, "done"))
        except KeyboardInterrupt:
            seen = store.record(step) is not None
            calls["left"] = 1000
            assert seen or store.recover(step) or store.work(step).exists()
            if seen or store.record(step):
                assert Store(store.home).verified(step)
            else:
                store.commit(step, record(step, "done"))
            assert Store(store.home).verified(step)
        else:
            break
    assert survived > 5


def test_a_whole_work_folder_is_recovered_a_changed_one_is_not(store: Store) -> None:
    commit(store)
    store.folder(STEP).rename(store.work(STEP))
    (store.work(STEP) / "parts" / "weights").write_text("pAyload")
    assert not store.recover(STEP)
    assert store.record(STEP) is None
    store.commit(STEP, record(STEP, "done"))
    store.folder(STEP).rename(store.work(STEP))
    assert store.recover(STEP)
    assert store.verified(STEP)


def test_of_two_commits_of_a_step_the_first_stays(store: Store) -> None:
    commit(store)
    before = store.record(STEP)
    commit(store)
    assert store.record(STEP) == before
    assert not store.work(STEP).exists()


def test_a_commit_replaces_an_artifact_that_lost_its_record(store: Store) -> None:
    commit(store)
    (store.folder(STEP) / "record.json").write_text("{")
    assert store.record(STEP) is None
    commit(store)
    assert store.record(STEP)
    assert list((store.home / "quarantine" / "pretrain").iterdir())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_noticed_named_and_set_aside(store: Store, data: st.DataObject) -> None:
    if store.record(STEP) is None:
        commit(store)
    files = sorted(path for path in store.folder(STEP).rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = path.read_bytes()
    at = data.draw(st.integers(0, 2**16)) % len(content)  # records of two runs differ in length
    match data.draw(st.sampled_from(["flip", "cut", "gone"])):
        case "flip":
            flipped = content[at] ^ (1 << data.draw(st.integers(0, 7)))
            path.write_bytes(content[:at] + bytes([flipped]) + content[at + 1 :])
        case "cut":
            path.write_bytes(content[:at])
        case "gone":
            path.unlink()
    fresh = Store(store.home)
    with pytest.raises(BadArtifactError, match="will be made again") as told:
        fresh.verified(STEP)
    assert not fresh.folder(STEP).exists()
    assert "\n" not in str(told.value)


def test_a_wrong_size_is_noticed_without_reading_the_file(store: Store) -> None:
    commit(store)
    assert store.sound(STEP)
    (store.folder(STEP) / "parts" / "weights").write_text("pay")
    assert not store.sound(STEP)
    assert store.record(STEP) is None


def test_the_artifact_of_another_step_is_not_taken_for_this_one(store: Store) -> None:
    commit(store)
    other = Step("pretrain", "thing", {"a": 2})
    store.folder(STEP).rename(store.folder(other))
    assert store.record(other) is None


def test_a_failure_is_kept_until_the_step_succeeds(store: Store) -> None:
    store.fail(STEP, record(STEP, "failed", error=("ValueError", "no")))
    failure = store.failure(STEP)
    assert failure
    assert failure["error"] == {"type": "ValueError", "message": "no"}
    commit(store)
    assert store.failure(STEP) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_a_disk_that_cannot_be_written_is_one_clear_line(tmp_path: Path, number: int) -> None:
    with pytest.raises(UserError, match="what is finished stays"), writing(tmp_path):
        raise OSError(number, os.strerror(number), str(tmp_path / "x"))


def test_other_errors_of_the_system_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Too many"), writing(tmp_path):
        raise OSError(errno.EMFILE, "Too many open files")


def test_what_a_killed_writer_left_goes_whoever_named_it(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    for name in ("llm.safetensors", ".llm.safetensors.x1", ".tmpIyWz07", "checkpoint/.tmp9"):
        (tmp_path / name).touch()
    remove_temporary(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {"llm.safetensors", "checkpoint"}


def test_a_draft_that_a_library_put_another_file_in_place_of_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    with atomic_file(path) as draft:
        (tmp_path / "other").write_text("whole")
        (tmp_path / "other").rename(draft)
    assert path.read_text() == "whole"
    assert [one.name for one in tmp_path.iterdir()] == ["weights"]
