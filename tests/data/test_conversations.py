"""Conversations are checked as LLaVA writes them, and what is wrong with one is said."""

from pathlib import Path
from typing import Any

import pytest
from data_toys import image, row, turns

from ablate.data.conversations import conversation
from ablate.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image(tmp_path / "one.png")
    return tmp_path


def test_text_only_system_turns_and_several_images_are_read(folder: Path) -> None:
    spoken = [{"from": "system", "value": "be brief"}, *turns("hi", "yes")]
    text = conversation({"id": "text", "conversations": spoken}, None)
    assert text.images == ()
    assert [message["role"] for message in text.messages] == ["system", "user", "assistant"]
    two = row(image=["one.png", "one.png"], conversations=turns("<image><image> which?", "both"))
    assert conversation(two, folder).images == ("one.png", "one.png")


def test_turns_may_be_columns_as_datasets_stores_a_sequence() -> None:
    columns = {"from": ["human", "gpt"], "value": ["hi", "yes"]}
    row_wise = conversation({"conversations": turns("hi", "yes")}, None)
    assert conversation({"conversations": columns}, None) == row_wise


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"png", b"png"),
        ({"bytes": b"png", "path": "/else/where.png"}, b"png"),
        ({"bytes": None, "path": "one.png"}, "one.png"),
    ],
)
def test_an_image_may_be_embedded(folder: Path, given: Any, kept: str | bytes) -> None:
    assert conversation(row(image=given), folder).images == (kept,)
    assert conversation(row(image=[given]), folder).images == (kept,)


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
    (row(conversations=[{"from": ["human"], "value": ""}]), r"turn 1 is from \['human'\]"),
    (row(conversations=turns("<image>", "\udc80")), "turn 2 is not UTF-8, or holds half"),
    (row(image=3), "'image' must be a path"),
    (row(image={"bytes": None, "path": None}), "'image' must be a path"),
    (row(image="two.png"), "no image at .*two.png"),
    (row(image="../one.png"), "leaves the image folder"),
    (row(image="/etc/passwd"), "leaves the image folder"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_what_is_wrong_with_a_row_is_said(folder: Path, bad: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        conversation(bad, folder)
    assert "\n" not in str(error.value)


def test_a_path_without_a_folder_of_images_is_named() -> None:
    with pytest.raises(UserError, match=r"'one\.png', but the source names no folder"):
        conversation(row(), None)
