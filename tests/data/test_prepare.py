"""Data is made ready once: it appears whole or not at all, without the rows that are bad."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_toys import CHATML, LLAMA3, byte_level, image, jsonl, row, turns

from ablate.catalog.data_sources import Files
from ablate.data import made as made_module
from ablate.data import prepare as prepare_module
from ablate.data.chat import Chat
from ablate.data.prepare import Part, indexed, prepare
from ablate.errors import UserError

WORLD = {"world": "conversations", "images": 3, "seed": 1}
CHAT = Chat(byte_level(LLAMA3))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    image(tmp_path / "photos" / "one.png")
    path = jsonl(tmp_path / "chat.jsonl", row("1"), row("2", conversations=turns("<image>", "b")))
    return Files(conversations=path, images=tmp_path / "photos")


def made(files: Files, tmp_path: Path, **changed: Any) -> Part:
    content = files.conversations.read_text()
    return indexed("chat", files.model_copy(update=changed), content, CHAT, tmp_path / "data")


def spoil(files: Files, *rows: Any) -> None:
    with files.conversations.open("a") as file:
        file.writelines(f"{json.dumps(row)}\n" for row in rows)


def test_the_world_is_drawn_once_also_when_asked_for_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Path] = []
    put = made_module.put

    def counted(partial: Path, folder: Path) -> None:
        drawn.append(folder)
        put(partial, folder)

    monkeypatch.setattr(made_module, "put", counted)
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: prepare(WORLD, tmp_path), range(4)))
    assert len(drawn) == len(folders) == 1
    assert len(list((folders.pop() / "images").iterdir())) == 3


def test_only_a_world_is_drawn(files: Files, tmp_path: Path) -> None:
    source = {"conversations": files.conversations, "images": files.images}
    with pytest.raises(UserError, match="only a world"):
        prepare(source, tmp_path)


def test_what_a_killed_process_left_is_not_taken_for_data(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module.Writer, "close", _killed)
        with pytest.raises(KeyboardInterrupt):
            made(files, tmp_path)
    part = made(files, tmp_path)
    assert len(part.index) == 2


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_rows_are_tokenised_once_in_chunks_of_any_size(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(files, *(row(str(n), conversations=turns(f"<image> {n}", "c" * n)) for n in range(1, 9)))
    whole = made(files, tmp_path).index
    monkeypatch.setattr(prepare_module, "CHUNK", 3)
    parts = indexed("other", files, "", CHAT, tmp_path / "data").index
    for name in ("ids.bin", "learn.bin", "starts.bin", "files.bin", "file_starts.bin"):
        assert (parts.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    monkeypatch.setattr(Chat, "encode", lambda *_: pytest.fail("tokenised again"))
    np.testing.assert_array_equal(made(files, tmp_path).index.learnt, whole.learnt)


def test_another_tokenizer_or_content_is_another_index(files: Files, tmp_path: Path) -> None:
    first = made(files, tmp_path).index.folder
    content = files.conversations.read_text()
    other = indexed("chat", files, content, Chat(byte_level(CHATML)), tmp_path / "data")
    spoil(files, row("3"))
    assert len({first, other.index.folder, made(files, tmp_path).index.folder}) == 3


def test_the_first_bad_row_is_an_error_that_leaves_nothing(files: Files, tmp_path: Path) -> None:
    spoil(files, row("3", image="gone.png"), row("4", image=3))
    with pytest.raises(UserError, match=r"^\S*chat\.jsonl:3 \(id '3'\): no image at .*gone\.png$"):
        made(files, tmp_path)
    assert list((tmp_path / "data").glob("chat-*")) == []


@pytest.mark.parametrize("allowed", [2, 0.5])
def test_bad_rows_are_passed_over_within_the_budget(
    files: Files, tmp_path: Path, allowed: float
) -> None:
    spoil(files, row("3", image="gone.png"), [1])
    part = made(files, tmp_path, max_bad=allowed)
    assert part.index.numbers.tolist() == [1, 2]
    assert part.budget.bad == part.budget.allowed == 2
    assert "chat.jsonl:3 (id '3'): no image at" in part.budget.reasons[0]
    assert "chat.jsonl:4: a row must be" in part.budget.reasons[1]
    assert made(files, tmp_path, max_bad=allowed).budget.to_json() == part.budget.to_json()


@pytest.mark.parametrize("allowed", [1, 0.49])
@pytest.mark.parametrize("known", [True, False])
def test_one_more_bad_row_than_allowed_is_an_error(
    files: Files, tmp_path: Path, allowed: float, known: bool
) -> None:
    spoil(files, row("3", image="gone.png"), [1])
    if known:  # an index made for a source that allows more
        made(files, tmp_path, max_bad=2)
    with pytest.raises(UserError, match=r"chat: 2 bad rows, but max_bad allows 1; the first: .*:3"):
        made(files, tmp_path, max_bad=allowed)


def test_a_source_far_from_the_rows_it_declares_is_refused(files: Files, tmp_path: Path) -> None:
    assert len(made(files, tmp_path, rows=2).index) == 2
    with pytest.raises(UserError, match="chat: 2 rows, but it declares 3"):
        made(files, tmp_path, rows=3)


@pytest.mark.parametrize("text", ["", "[]", "\n\n"])
def test_a_file_without_a_row_is_refused(files: Files, tmp_path: Path, text: str) -> None:
    files.conversations.write_text(text)
    with pytest.raises(UserError, match="holds no conversation"):
        made(files, tmp_path)


def test_a_source_of_which_every_answer_is_empty_is_an_error(files: Files, tmp_path: Path) -> None:
    empty = [row(str(number), conversations=turns("<image>", " ")) for number in range(3)]
    with pytest.raises(UserError, match=r"chat.jsonl: every answer is empty: nothing can be learn"):
        made(
            files.model_copy(update={"conversations": jsonl(tmp_path / "chat.jsonl", *empty)}),
            tmp_path,
        )
    some = jsonl(tmp_path / "some.jsonl", *empty, row("3"))
    assert (
        made(files.model_copy(update={"conversations": some}), tmp_path).index.report["rows"] == 4
    )
