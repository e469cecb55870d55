"""What we made of data is what we go on with: anything else is set aside and made anew."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ablate.data import made as made_module
from ablate.data.made import MANIFEST, made, problem


@pytest.fixture
def filled(tmp_path: Path) -> Callable[[], Path]:
    """Opens a folder, which is made if need be."""

    def fill(folder: Path) -> None:
        (folder / "images").mkdir()
        (folder / "images" / "0.png").write_bytes(b"picture")
        (folder / "rows.jsonl").write_text("{}")

    return lambda: made(tmp_path / "data" / "test-1", fill)


def spoil(folder: Path, damage: str) -> None:
    picture = folder / "images" / "0.png"
    match damage:
        case "empty":
            picture.write_bytes(b"")
        case "other":
            picture.write_bytes(b"pikture")
        case "other, slyly":
            before = picture.stat()
            picture.write_bytes(b"pikture")
            os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "another file in its place":
            (folder / "new").write_bytes(b"pikture")
            (folder / "new").replace(picture)
        case "gone":
            picture.unlink()
        case "no manifest":
            (folder / MANIFEST).unlink()
        case "a damaged manifest":
            (folder / MANIFEST).write_text("{}")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("empty", "images/0.png has 0 bytes, not 7"),
        ("other", "the checksum of images/0.png does not hold"),
        ("other, slyly", "the checksum of images/0.png does not hold"),
        ("another file in its place", "the checksum of images/0.png does not hold"),
        ("gone", "images/0.png is missing"),
        ("no manifest", "made by an older version"),
        ("a damaged manifest", "its manifest is damaged"),
    ],
)
def test_what_is_not_as_it_was_made_is_set_aside_and_made_anew(
    filled: Callable[[], Path], capsys: pytest.CaptureFixture[str], damage: str, said: str
) -> None:
    folder = filled()
    assert filled() == folder
    assert capsys.readouterr().err == ""
    spoil(folder, damage)
    assert said in str(problem(folder))
    assert filled() == folder
    assert (folder / "images" / "0.png").read_bytes() == b"picture"
    aside = folder.parent / "quarantine" / "test-1.1"
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert line.endswith(f"moved to {aside}, is made anew")
    assert aside.is_dir()
    filled()
    assert capsys.readouterr().err == ""


def test_files_are_read_again_only_where_sizes_or_times_differ(
    filled: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = filled()
    filled()
    monkeypatch.setattr(made_module, "_sums", lambda paths: pytest.fail("read again"))
    filled()
    monkeypatch.undo()
    (folder / "images" / "0.png").touch()
    filled()
    assert not (folder.parent / "quarantine").exists()


def test_what_was_put_beside_is_nobodys_business(filled: Callable[[], Path]) -> None:
    (filled() / "cache").write_text("of a library")
    assert (filled() / "cache").exists()


def test_a_link_to_data_that_is_gone_is_said(filled: Callable[[], Path]) -> None:
    folder = filled()
    (folder / "images" / "0.png").unlink()
    (folder / "images" / "0.png").symlink_to(folder / "nowhere")
    assert problem(folder) == "images/0.png is missing"
