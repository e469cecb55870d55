"""Whatever a row holds, it is learnt from, or named by file, row and id and counted as bad."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_toys import GEMMA, LLAMA3, MISTRAL, byte_level, image, row, sentencepiece, turns
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.data_sources import Files, parse
from ablate.data.chat import Chat
from ablate.data.dataset import Conversations
from ablate.data.prepare import Part, indexed
from ablate.data.tiles import Tiles
from ablate.errors import UserError

CHATS = {
    "llama3": Chat(byte_level(LLAMA3)),
    "mistral": Chat(sentencepiece(MISTRAL)),
    "gemma": Chat(byte_level(GEMMA)),
}
SYSTEM = [{"from": "system", "value": "be brief"}, *turns("<image> what?", "yes")]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return image(tmp_path / "photos" / "one.png").parent


def made(photos: Path, text: str, chat: str = "llama3", **changed: Any) -> Part:
    path = photos.parent / "chat.json"
    path.write_text(text, encoding="utf-8")
    files = Files(conversations=path, images=photos, **changed)
    return indexed("chat", files, text, CHATS[chat], photos.parent / "data")


HOSTILE: list[tuple[str, Any, str]] = [
    ("mistral", row("x", conversations=SYSTEM), "roles must alternate"),
    ("gemma", row("x", conversations=SYSTEM), "System role not supported"),
    ("llama3", row("x", conversations=turns("<image>", "\ud800")), "half a character"),
    ("llama3", row("x", conversations=turns("<image> \udcff", "a")), "half a character"),
    ("llama3", row("x", image="a" * 5000), "File name too long"),
    ("llama3", row("x", image="\ud800.png"), r"no image at .*\\ud800"),
    ("llama3", row("x", image="a\0b"), "no image at .*|null"),
    ("llama3", row("x", image="a\nb\x1b[31m.png"), r"no image at .*a\\nb\\x1b"),
    ("llama3", row("x", conversations=[{"from": ["human"], "value": ""}]), r"from \['human'\]"),
    ("llama3", row("x", conversations=[{"from": {}, "value": ""}]), "from {}"),
    ("llama3", row("x", conversations={"from": ["human", "gpt"], "value": ["a"]}), "shorter"),
]


@pytest.mark.parametrize(("chat", "hostile", "why"), HOSTILE)
@pytest.mark.parametrize("as_list", [True, False])
def test_a_row_that_cannot_be_used_is_named_and_counted_whatever_it_breaks(
    photos: Path, chat: str, hostile: Any, why: str, as_list: bool
) -> None:
    rows = [row("a"), hostile, row("b", conversations=turns("<image>", "no"))]
    text = json.dumps(rows) if as_list else "\n".join(map(json.dumps, rows))
    where = f"{photos.parent}/chat.json" + (", row 2" if as_list else ":2")
    part = made(photos, text, chat, max_bad=1)
    assert part.index.numbers.tolist() == [1, 3]
    assert part.budget.bad == 1
    [reason] = part.budget.reasons
    assert reason.startswith(f"{where} (id 'x'): ")
    assert reason.isprintable()
    with pytest.raises(UserError, match=why) as error:
        made(photos, text + " ", chat)
    assert str(error.value) == reason


def test_the_first_of_several_bad_rows_is_told_first_whatever_is_wrong(photos: Path) -> None:
    rows = [row("a", conversations=SYSTEM), row("b", image=3), row("c")]
    part = made(photos, json.dumps(rows), "mistral", max_bad=2)
    assert ["(id 'a')" in part.budget.reasons[0], "(id 'b')" in part.budget.reasons[1]] == [1, 1]


@pytest.mark.parametrize("bad", ["[" * 200_000 + "]" * 200_000, "9" * 6000])
@pytest.mark.parametrize("as_list", [True, False])
def test_a_row_that_json_gives_up_on_is_counted(photos: Path, bad: str, as_list: bool) -> None:
    rows = [json.dumps(row("a")), f'{{"id": "b", "more": {bad}}}', json.dumps(row("c"))]
    text = f"[{','.join(rows)}]" if as_list else "\n".join(rows)
    part = made(photos, text, max_bad=1)
    assert part.index.numbers.tolist() == [1, 3]
    assert part.budget.bad == 1
    assert "chat.json" in part.budget.reasons[0]


def test_a_file_name_that_is_not_utf8_is_found_again(photos: Path) -> None:
    name = "\udcff.png"
    (photos / "one.png").rename(photos / name)
    part = made(photos, json.dumps([row("a", image=name)]))
    assert part.index.files(0) == [name]


texts = st.text(max_size=9) | st.sampled_from(
    ["<image>", "human", "gpt", "one.png", "\ud800", "\0"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.just("a" * 5000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
hostile = st.builds(
    lambda field, value: row("x", **{field: value}),
    st.sampled_from(["id", "image", "conversations"]),
    values
    | st.lists(st.fixed_dictionaries({"from": values, "value": texts}), max_size=3)
    | st.lists(texts, min_size=2, max_size=4).map(lambda said: turns(*said)),
)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(bad=st.lists(values | hostile, min_size=1, max_size=8), chat=st.sampled_from([*CHATS]))
def test_no_row_stops_the_reading(photos: Path, bad: list[Any], chat: str) -> None:
    rows = [row("first"), *bad, row("last")]
    part = made(photos, "\n".join(map(json.dumps, rows)), chat, max_bad=len(bad))
    assert part.index.numbers[[0, -1]].tolist() == [1, len(rows)]
    assert len(part.index) + part.budget.bad == len(rows)
    assert all(reason.isprintable() and "chat.json:" in reason for reason in part.budget.reasons)


def test_an_image_of_a_kind_that_a_decoder_gives_up_on_is_named_with_its_row_and_id(
    tmp_path: Path,
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "AVIF")
    whole = file.getvalue()
    place = whole.index(b"mdat") + 12  # a bit of what is coded, which raises a RuntimeError
    damaged = whole[:place] + bytes(len(whole) - place)
    rows = [row("a", image=whole), row("b", image=damaged), row("c", image=b"GIF89a")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    source = parse({"conversations": tmp_path / "a.parquet", "max_bad": 2})
    limits = {"max_length": 99, "tiles": Tiles.whole(4)}
    content = fingerprint(source)
    data = Conversations(source, content, CHATS["llama3"], tmp_path / "data", **limits)
    sample, bad = data.readable(1)
    assert sample.images[0].shape == (3, 64, 64)
    assert [image.number for image in bad] == [2, 3]
    for image_, identity in zip(bad, "bc", strict=True):
        name = f"{tmp_path}/a.parquet, row {image_.number} (id '{identity}')"
        assert image_.reason.startswith(f"{name}: an embedded image cannot be read as an image: ")
