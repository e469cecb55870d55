"""Libraries' caches go below our home where the home directory cannot be written."""

import os
from pathlib import Path

import pytest

from ablate.commands import doctor
from ablate.worker import caches

NAMES = ("XDG_CACHE_HOME", "HF_HOME", "HF_DATASETS_CACHE", "HF_MODULES_CACHE", "HF_HUB_CACHE")


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, "MPLCONFIGDIR", "TRITON_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    caches.is_writable.cache_clear()


def test_a_home_directory_that_can_be_written_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert caches.moved_caches() == {}
    assert doctor._caches().status == "ok"


@pytest.mark.parametrize("place", ["/proc/none", "a file"])
def test_one_that_cannot_be_written_is_left_alone_but_for_the_hubs_cache(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if place == "a file":
        place = str(tmp_path / "file")
        Path(place).touch()
    monkeypatch.setenv("HOME", place)
    moved = caches.moved_caches()
    assert moved.pop("HF_HUB_CACHE") == f"{place}/.cache/huggingface/hub"
    assert set(NAMES) - {"HF_HUB_CACHE"} <= moved.keys()
    assert all(Path(path).is_relative_to(own_home / "caches") for path in moved.values())
    caches.use_writable_caches()
    assert caches.moved_caches() == {}  # for whoever is started by this process
    assert os.environ["HF_HUB_CACHE"] == f"{place}/.cache/huggingface/hub"


def test_what_a_user_has_set_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/none")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert not {"HF_HOME", "HF_DATASETS_CACHE", "HF_HUB_CACHE"} & caches.moved_caches().keys()


def test_the_doctor_says_where_they_go(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/none")
    finding = doctor._caches()
    assert finding.status == "note"
    assert str(own_home / "caches") in finding.found
    monkeypatch.setenv("ABLATE_HOME", "/proc/none/runs")
    assert doctor._caches().status == "problem"
