"""A real disk that is full, or read-only: one line, exit code 2, and the same command goes on."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import core_fakes
import pytest
from in_process import Answer, ablate

from ablate.config.study import Study
from ablate.driver.scheduler import drive
from ablate.errors import UserError
from ablate.worker.context import StepContext

PAGE = 4096


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, timeout=30)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own, of four MiB."""
    if os.geteuid():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True, timeout=30)


def fill(disk: Path, leave: int) -> Path:
    """Take all room but so many pages; the file to remove for it to come back."""
    ballast = disk / "ballast"
    room = os.statvfs(disk)
    ballast.write_bytes(bytes((room.f_bavail - leave) * PAGE))
    return ballast


@pytest.fixture
def calm(small: Study, fakes: Mapping[str, str], tmp_path: Path) -> list[Any]:
    """The rounds of the study where nothing goes wrong."""
    return drive(small, backend="inline", home=tmp_path / "calm", executors=fakes)


@pytest.mark.parametrize("pages", [0, 1, 3, 6, 10, 20, 45, 60, 80])
def test_a_disk_that_fills_up_anywhere_is_one_line_and_the_same_command_goes_on(
    small: Study, fakes: Mapping[str, str], calm: list[Any], small_disk: Path, pages: int
) -> None:
    home = small_disk / "home"
    ballast = fill(small_disk, pages)
    with pytest.raises(UserError, match="No space left on device") as error:
        drive(small, backend="inline", home=home, executors=fakes)
    assert "\n" not in str(error.value)
    assert not list(home.rglob(".*.json.*"))  # no draft is left
    done = set(map(str, home.glob("store/*/*")))
    ballast.unlink()
    assert drive(small, backend="inline", home=home, executors=fakes) == calm
    assert done <= set(map(str, home.glob("store/*/*")))
    assert not (home / "quarantine").exists()
    assert not (home / "failed").exists()


def test_workers_that_find_the_disk_full_are_no_failures(
    small: Study, fakes: Mapping[str, str], calm: list[Any], small_disk: Path
) -> None:
    ballast = fill(small_disk, 60)
    home = small_disk / "home"
    with pytest.raises(UserError, match=f"^cannot write below {home}: No space left on device"):
        drive(small, backend="local", jobs=2, home=home, executors=fakes)
    ballast.unlink()
    assert drive(small, backend="local", jobs=2, home=home, executors=fakes) == calm
    assert not (home / "failed").exists()


def overflowing(write: Callable[[Path], None]) -> dict[str, Any]:
    """Executors of which the training leaves a checkpoint, by some library."""

    def train(ctx: StepContext) -> dict[str, Any]:
        write(ctx.work / "checkpoint")
        (ctx.work / "checkpoint").unlink()
        return core_fakes.train(ctx)

    return {**dict.fromkeys(core_fakes.EXECUTORS, train), "evaluate": core_fakes.evaluate}


def by_safetensors(path: Path) -> None:
    import numpy
    from safetensors.numpy import save_file

    save_file({"weights": numpy.zeros(2**19, dtype="uint8")}, path)


def without_a_reason(path: Path) -> None:
    """As torch does, whose writer says no more than that it failed."""
    try:
        path.write_bytes(bytes(2**19))
    except OSError:
        raise RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos") from None


@pytest.mark.parametrize("write", [by_safetensors, without_a_reason])
def test_a_checkpoint_that_finds_no_room_is_no_failure_of_the_step(
    small: Study, calm: list[Any], small_disk: Path, write: Callable[[Path], None]
) -> None:
    ballast = fill(small_disk, 80)
    home = small_disk / "home"
    with pytest.raises(UserError, match=f"^cannot write below {home}: .*No space left on device"):
        drive(small, backend="inline", home=home, executors=overflowing(write))
    assert not (home / "failed").exists()
    ballast.unlink()
    assert drive(small, backend="inline", home=home, executors=overflowing(write)) == calm


def test_a_quota_that_is_used_up_is_named(
    small: Study, fakes: Mapping[str, str], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError, match="Disk quota exceeded"):
        drive(small, backend="inline", home=own_home, executors=fakes)


def on_smoke(command: str, *words: str) -> Answer:
    return ablate(command, "micro/smoke", "--set", "seeds=[0]", *words)


def test_a_read_only_store_can_be_read_and_says_so_where_it_is_written(
    small: Study,
    fakes: Mapping[str, str],
    small_disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = small_disk / "home"
    monkeypatch.setenv("ABLATE_HOME", str(home))
    drive(small, 1, backend="inline", home=home, executors=fakes)
    mount("-o", "remount,ro", str(small_disk))
    for command in ("status", "plan", "table"):
        said = on_smoke(command)
        assert (said.code, said.err) == (0, ""), command
    said = on_smoke("run", "--backend", "inline")
    line = f"ablate: cannot write below {home}: Read-only file system; "
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith(line)
    assert "Traceback" not in said.err
    monkeypatch.chdir(tmp_path)
    said = on_smoke("report")
    assert said.code == 0
    assert Path(said.out.strip()).is_relative_to(tmp_path / "ablate-reports")
    mount("-o", "remount,rw", str(small_disk))
    rounds = drive(small, backend="inline", home=home, executors=fakes)
    assert [turn.number for turn in rounds if turn.decision] == [1, 2]
