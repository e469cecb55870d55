"""What identifies a data source: its content, or, to plan with, what it declares."""

import os
from pathlib import Path
from typing import Any

import pytest
from data_toys import image, jsonl, row

from ablate.catalog import data_fingerprint as fingerprint_module
from ablate.catalog.data_fingerprint import digest, fingerprint
from ablate.errors import UserError

WORLD = {"world": "conversations", "images": 3, "seed": 1}


@pytest.fixture
def source(tmp_path: Path) -> dict[str, Any]:
    image(tmp_path / "photos" / "one.png")
    path = jsonl(tmp_path / "chat.jsonl", row("1"), row("2"))
    return {"conversations": str(path), "images": str(tmp_path / "photos")}


def test_the_world_is_known_by_its_spec_and_version() -> None:
    print_ = fingerprint(WORLD)
    assert print_["world_version"] >= 1
    assert fingerprint({**WORLD, "seed": 2}) != print_


def test_it_is_of_content_not_of_paths(source: dict[str, Any], tmp_path: Path) -> None:
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
    [before] = fingerprint(source)["parts"]
    path = Path(source["conversations"])
    path.write_text(path.read_text().replace("a cat", "a dog"))
    os.utime(path, ns=(1, 1))
    [after] = fingerprint(source)["parts"]
    assert after["conversations"] != before["conversations"]
    assert after["images"] == before["images"]


def test_files_unchanged_are_not_read_again(
    source: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(source)
    monkeypatch.setattr(fingerprint_module, "sha256_file", lambda path: pytest.fail(f"read {path}"))
    assert fingerprint(source) == before


def test_a_new_image_has_only_its_own_folder_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        image(tmp_path / "photos" / name)
    before, read = digest(tmp_path / "photos"), []
    monkeypatch.setattr(fingerprint_module, "sha256_file", lambda path: read.append(path) or "x")
    image(tmp_path / "photos" / "b" / "2.png")
    assert digest(tmp_path / "photos") != before
    assert {path.parent.name for path in read} == {"b"}


def test_links_are_followed_hidden_files_are_not_counted(tmp_path: Path) -> None:
    image(tmp_path / "plain" / "coco" / "1.png")
    image(tmp_path / "disk" / "1.png")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "coco").symlink_to(tmp_path / "disk")
    (tmp_path / "linked" / ".cache").write_text("a download's own note")
    assert digest(tmp_path / "linked") == digest(tmp_path / "plain")
    (tmp_path / "disk" / "again").symlink_to(tmp_path / "linked")
    with pytest.raises(UserError, match="links back"):
        digest(tmp_path / "linked")


def test_names_and_places_of_images_count(tmp_path: Path) -> None:
    prints = set()
    for number, name in enumerate(["a.png", "b.png", "c/a.png", "ca.png"]):
        image(tmp_path / str(number) / name)
        prints.add(digest(tmp_path / str(number)))
    assert len(prints) == 4


CHANGES: list[dict[str, Any]] = [
    {"weight": 0.5},
    {"canvas": 64},
    {"padding": [0, 0, 0]},
    {"seed": 1},
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_sample_or_the_choice_of_them_counts(
    source: dict[str, Any], change: dict[str, Any]
) -> None:
    assert fingerprint({**source, **change}) != fingerprint(source)


def test_what_is_only_for_the_reader_or_the_budget_does_not_count(source: dict[str, Any]) -> None:
    words = {"origin": "x", "licence": "y", "rows": 2, "max_bad": 3}
    assert fingerprint({**source, **words}) == fingerprint(source)


def test_one_source_is_a_mixture_of_one(source: dict[str, Any]) -> None:
    assert fingerprint({"mix": {"any": source}}) == fingerprint(source)
    half = {"mix": {"any": {**source, "weight": 2}}, "weight": 0.25}
    assert fingerprint(half) == fingerprint({**source, "weight": 0.5})


def test_a_mixture_does_not_depend_on_the_order_it_is_written_in(source: dict[str, Any]) -> None:
    other = {**source, "weight": 2}
    one, two = {"a": source, "b": other}, {"b": other, "a": source}
    assert fingerprint({"mix": one}) == fingerprint({"mix": two})
    assert fingerprint({"mix": {"a": other, "b": source}}) != fingerprint({"mix": one})


def test_missing_data_that_declares_its_rows_can_be_planned_with(
    source: dict[str, Any], tmp_path: Path
) -> None:
    absent = {"conversations": tmp_path / "gone.json", "rows": 5}
    planned = fingerprint({"mix": {"a": {**source, "rows": 2}, "b": absent}})
    assert planned.keys() == {"declared", "canvas", "padding", "seed", "format"}
    assert planned != fingerprint({"mix": {"a": {**source, "rows": 3}, "b": absent}})
    assert "declared" not in fingerprint({**source, "rows": 2})


@pytest.mark.parametrize("missing", ["conversations", "images"])
def test_missing_data_without_a_count_is_named(
    source: dict[str, Any], tmp_path: Path, missing: str
) -> None:
    source[missing] = str(tmp_path / "gone")
    with pytest.raises(UserError, match=r"data is missing: .*: nothing at .*gone$"):
        fingerprint(source)
