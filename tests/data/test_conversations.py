"""Conversations are checked as LLaVA writes them; what is wrong is named by file and row."""

from pathlib import Path
from typing import Any

import pytest
from data_toys import image, row, turns

from ablate.data.conversations import conversation
from ablate.data.readers import Unreadable
from ablate.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image(tmp_path / "one.png")
    return tmp_path


def test_text_only_system_turns_and_several_images_are_read(folder: Path) -> None:
    spoken = [{"from": "system", "value": "be brief"}, *turns("hi", "yes")]
    text = conversation("a:1", {"id": "text", "conversations": spoken}, None)
    assert text.images == ()
    assert [message["role"] for message in text.messages] == ["system", "user", "assistant"]
    two = row(image=["one.png", "one.png"], conversations=turns("<image><image> which?", "both"))
    assert conversation("a:2", two, folder).images == ("one.png", "one.png")


def test_turns_may_be_columns_as_datasets_stores_a_sequence() -> None:
    columns = {"from": ["human", "gpt"], "value": ["hi", "yes"]}
    row_wise = conversation("a:1", {"conversations": turns("hi", "yes")}, None)
    assert conversation("a:1", {"conversations": columns}, None) == row_wise


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"png", b"png"),
        ({"bytes": b"png", "path": "/else/where.png"}, b"png"),
        ({"bytes": None, "path": "one.png"}, "one.png"),
    ],
)
def test_an_image_may_be_embedded(folder: Path, given: Any, kept: str | bytes) -> None:
    assert conversation("a:1", row(image=given), folder).images == (kept,)
    assert conversation("a:1", row(image=[given]), folder).images == (kept,)


BAD: list[tuple[Any, str]] = [
    ([1], "must be an object"),
    (row(conversations=None), "'conversations' must be a list"),
    (row(conversations=[]), "'conversations' must be a list"),
    (row(conversations={}), "'conversations' must be a list"),
    (row(conversations=["hi"]), "turn 1 must be an object"),
    (row(conversations=[{"from": "human", "value": 3}]), "text 'value'"),
    (row(conversations=[{"from": "humn", "value": ""}]), "turn 1 is from 'humn'.*'human'"),
    (row(conversations=turns("<image>", "a", "b")), "take turns"),
    (row(conversations=turns("<image>", "a")[::-1]), "take turns"),
    (row(conversations=turns("what?", "a")), "0 <image> in the turns but 1 in 'image'"),
    (row(conversations=turns("<image><image>", "a")), "2 <image> in the turns but 1"),
    (row(image=None), "1 <image> in the turns but 0"),
    (row(conversations=turns("what?", "<image>")), "outside the human's turns"),
    (row(image=3), "'image' must be a path"),
    (row(image={"bytes": None, "path": None}), "'image' must be a path"),
    (Unreadable("not JSON: oops"), "not JSON: oops"),
    (row(image="two.png"), "no image at .*two.png"),
    (row(image="../one.png"), "leaves the image folder"),
    (row(image="/etc/passwd"), "leaves the image folder"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_a_bad_row_is_named_by_file_and_row(folder: Path, bad: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        conversation("a.jsonl:2", bad, folder)
    assert str(error.value).startswith("a.jsonl:2")
    assert "\n" not in str(error.value)


def test_a_path_without_a_folder_of_images_is_named() -> None:
    with pytest.raises(UserError, match=r"'one\.png', but the source names no folder"):
        conversation("a:1", row(), None)
