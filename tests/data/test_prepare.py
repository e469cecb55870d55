"""Data sources: what identifies them, and folders that appear whole or not at all."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from data_toys import image, jsonl, row, turns

from ablate.data import prepare as prepare_module
from ablate.data.conversations import read
from ablate.data.prepare import prepare
from ablate.data.spec import FileData, WorldData, fingerprint, parse
from ablate.errors import UserError

WORLD = {"world": "conversations", "images": 3, "seed": 1}


@pytest.fixture
def source(tmp_path: Path) -> dict[str, Any]:
    image(tmp_path / "photos" / "one.png")
    path = jsonl(tmp_path / "chat.jsonl", row("1"), row("2", conversations=turns("<image>", "b")))
    return {"conversations": str(path), "images": str(tmp_path / "photos")}


def test_a_source_is_either_of_the_world_or_of_files(source: dict[str, Any]) -> None:
    assert isinstance(parse(WORLD), WorldData)
    assert isinstance(parse({**source, "fingerprint": {}}), FileData)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"world": "pears", "images": 3}, "world"),
        ({"world": "pairs", "images": 0}, "images"),
        ({"world": "pairs", "images": 3, "sed": 1}, "sed"),
        ({"conversations": "a.json"}, "images"),
    ],
)
def test_a_wrong_field_of_a_source_is_named(raw: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError, match=f"data source: {field}: "):
        parse(raw)


def test_the_fingerprint_is_of_content_not_of_paths(source: dict[str, Any], tmp_path: Path) -> None:
    before = fingerprint(source)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    Path(source["conversations"]).rename(moved / "renamed.jsonl")
    Path(source["images"]).rename(moved / "pictures")
    source = {"conversations": moved / "renamed.jsonl", "images": moved / "pictures"}
    assert fingerprint(source) == before
    image(moved / "pictures" / "one.png", colour="blue")
    assert fingerprint(source) != before


def test_a_changed_file_of_the_same_size_is_noticed(source: dict[str, Any]) -> None:
    before = fingerprint(source)
    path = Path(source["conversations"])
    path.write_text(path.read_text().replace("a cat", "a dog"))
    os.utime(path, ns=(1, 1))
    assert fingerprint(source)["conversations"] != before["conversations"]
    assert fingerprint(source)["images"] == before["images"]


def test_files_unchanged_are_not_read_again(
    source: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.files.REMEMBERED", 1)
    before = fingerprint(source)
    monkeypatch.setattr("ablate.files.sha256_file", lambda path: pytest.fail(f"read {path}"))
    assert fingerprint(source) == before


def test_the_world_is_known_by_its_spec_and_version() -> None:
    print_ = fingerprint(WORLD)
    assert print_["world_version"] >= 1
    assert fingerprint({**WORLD, "seed": 2}) != print_


def test_own_files_are_prepared_as_rows_beside_a_link(
    source: dict[str, Any], tmp_path: Path
) -> None:
    folder = prepare(source, tmp_path / "data")
    conversations = list(read(folder / "conversations.jsonl", folder))
    assert [c.id for c in conversations] == ["1", "2"]
    assert conversations[0].images == ("images/one.png",)
    assert conversations[0].messages[0] == {"role": "user", "content": "<image>\nwhat?"}
    assert prepare(source, tmp_path / "data") == folder


def test_the_world_is_drawn_once_also_when_asked_for_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled: list[Path] = []
    fill = prepare_module._fill

    def counted(source: WorldData | FileData, folder: Path) -> None:
        filled.append(folder)
        fill(source, folder)

    monkeypatch.setattr(prepare_module, "_fill", counted)
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: prepare(WORLD, tmp_path), range(4)))
    assert len(filled) == len(folders) == 1
    assert len(list((folders.pop() / "images").iterdir())) == 3


def test_a_bad_row_leaves_nothing_half_written(source: dict[str, Any], tmp_path: Path) -> None:
    with Path(source["conversations"]).open("a") as file:
        file.write(json.dumps(row("3", image="gone.png")) + "\n")
    with pytest.raises(UserError, match=r"chat\.jsonl:3 \(id '3'\): no image at .*gone\.png"):
        prepare(source, tmp_path / "data")
    assert list((tmp_path / "data").glob("chat-*")) == []


def test_what_a_killed_process_left_is_not_taken_for_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(source: WorldData | FileData, folder: Path) -> None:
        (folder / "conversations.jsonl").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "_fill", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(WORLD, tmp_path)
    folder = prepare(WORLD, tmp_path)
    assert len(list(read(folder / "conversations.jsonl", folder))) == 3


@pytest.mark.parametrize("missing", ["conversations", "images"])
def test_a_missing_source_is_named(source: dict[str, Any], tmp_path: Path, missing: str) -> None:
    source[missing] = str(tmp_path / "gone")
    with pytest.raises(UserError, match=r"no .* at .*gone"):
        prepare(source, tmp_path / "data")
