"""Conversations are read as LLaVA writes them; what is wrong is named by file and row."""

import json
from pathlib import Path
from typing import Any

import pytest
from data_toys import image, jsonl, row, turns

from ablate.data.conversations import read
from ablate.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image(tmp_path / "one.png")
    return tmp_path


def test_json_and_jsonl_hold_the_same(folder: Path) -> None:
    lines = jsonl(folder / "a.jsonl", row("1"), row("2"))
    (folder / "a.json").write_text(json.dumps([row("1"), row("2")], indent=2))
    first, second = list(read(lines, folder)), list(read(folder / "a.json", folder))
    assert [c.messages for c in first] == [c.messages for c in second]
    assert first[0].where == f"{lines}:1 (id '1')"
    assert second[1].where == f"{folder / 'a.json'}, row 2 (id '2')"


def test_text_only_system_turns_and_several_images_are_read(folder: Path) -> None:
    two = turns("<image><image> which?", "both")
    spoken = [{"from": "system", "value": "be brief"}, *turns("hi", "yes")]
    path = jsonl(
        folder / "a.jsonl",
        {"id": "text", "conversations": spoken},
        row("two", image=["one.png", "one.png"], conversations=two),
    )
    text, several = read(path, folder)
    assert text.images == ()
    assert [message["role"] for message in text.messages] == ["system", "user", "assistant"]
    assert several.images == ("one.png", "one.png")


BAD: list[tuple[Any, str]] = [
    ([1], "must be an object"),
    (row(conversations=None), "'conversations' must be a list"),
    (row(conversations=[]), "'conversations' must be a list"),
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
    (row(image="two.png"), "no image at .*two.png"),
    (row(image="../one.png"), "leaves the image folder"),
    (row(image="/etc/passwd"), "leaves the image folder"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_a_bad_row_is_named_by_file_and_line(folder: Path, bad: Any, message: str) -> None:
    path = jsonl(folder / "a.jsonl", row("good"), bad)
    with pytest.raises(UserError, match=message) as error:
        list(read(path, folder))
    assert str(error.value).startswith(f"{path}:2")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": 1', ":1: not JSON"),
        ('[{"id": 1},\n oops]', ":2: not JSON"),
        ("", "holds no conversation"),
        ("[]", "holds no conversation"),
    ],
)
def test_a_file_that_is_no_list_of_rows_is_named(folder: Path, text: str, message: str) -> None:
    (folder / "a.json").write_text(text)
    with pytest.raises(UserError, match=message):
        list(read(folder / "a.json", folder))


def test_a_file_of_other_bytes_is_named(folder: Path) -> None:
    (folder / "a.json").write_bytes(b'{"id": "\xff"}')
    with pytest.raises(UserError, match=r"a\.json: not UTF-8"):
        list(read(folder / "a.json", folder))


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"no conversations at .*b\.json"):
        list(read(folder / "b.json", folder))
