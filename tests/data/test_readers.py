"""Rows are streamed from whatever a path holds, and found again by file and number."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_toys import image, jsonl, row
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.data import readers
from ablate.data.readers import Unreadable, reader
from ablate.errors import UserError

ROWS = [row(str(number)) for number in range(5)]


def write(kind: str, folder: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows in the format of that name."""
    path = folder / f"rows.{kind}"
    if kind == "json":
        path.write_text(json.dumps(rows, indent=2))
    elif kind == "jsonl":
        jsonl(path, *rows)
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "shards":
        (path / "data").mkdir(parents=True)
        for number, part in enumerate((rows[:2], rows[2:])):
            table = pa.Table.from_pylist(part)
            pq.write_table(table, path / "data" / f"train-{number}.parquet")
    else:
        datasets.Dataset.from_list(rows).save_to_disk(str(path))
    return path


KINDS = ["json", "jsonl", "parquet", "shards", "saved"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    path = write(kind, tmp_path, ROWS)
    assert list(reader(path)) == list(enumerate(ROWS, start=1))
    where = {
        "json": f"{path}, row 4",
        "jsonl": f"{path}:4",
        "parquet": f"{path}, row 4",
        "shards": f"{path / 'data' / 'train-1.parquet'}, row 2",
        "saved": f"{path}, row 4",
    }
    assert reader(path).where(4) == where[kind]


@pytest.mark.parametrize("kind", ["parquet", "saved"])
def test_embedded_images_come_as_bytes_and_other_columns_not_at_all(
    tmp_path: Path, kind: str
) -> None:
    png = image(tmp_path / "a.png").read_bytes()
    rows = [{**ROWS[0], "image": {"bytes": png, "path": "a.png"}, "more": "x" * 99}]
    path = write(kind, tmp_path, rows)
    [(_, read)] = reader(path)
    assert read["image"]["bytes"] == png
    assert read.keys() == {"id", "image", "conversations"}


def test_a_datasets_image_feature_is_not_decoded(tmp_path: Path) -> None:
    png = image(tmp_path / "a.png")
    rows = datasets.Dataset.from_list([row(image=str(png))])
    rows = rows.cast_column("image", datasets.Image())
    rows.save_to_disk(str(tmp_path / "saved"))
    [(_, read)] = reader(tmp_path / "saved")
    assert read["image"]["bytes"] == png.read_bytes()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(JSON), block=st.integers(1, 9), indent=st.none() | st.integers(0, 2))
def test_a_list_is_read_alike_in_blocks_of_any_size(
    tmp_path: Path, rows: list[Any], block: int, indent: int | None
) -> None:
    path = tmp_path / "rows.json"
    path.write_text(" " + json.dumps(rows, indent=indent, ensure_ascii=False) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "BLOCK", block)
        assert [value for _, value in reader(path)] == rows


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(2, 200), block=st.integers(1, 300))
def test_a_list_cut_short_is_an_error_that_names_the_line(
    tmp_path: Path, cut: int, block: int
) -> None:
    path = tmp_path / "rows.json"
    text = json.dumps(ROWS, indent=1)
    path.write_text(text[:cut])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "BLOCK", block)
        with pytest.raises(UserError) as error:
            list(reader(path))
    line = int(str(error.value).removeprefix(f"{path}:").partition(":")[0])
    assert 1 <= line <= text[:cut].count("\n") + 1


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_a_long_file_is_not_held(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BLOCK", 2**14)
    path = write(kind, tmp_path, ROWS * 4000)
    assert path.stat().st_size > 2**21
    tracemalloc.start()
    try:
        assert sum(1 for _ in reader(path)) == 5 * 4000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**19


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"id": 1},\n oops]', ":2: not JSON: Expecting value"),
        ('[{"id": 1}\n\n {"id": 2}]', ":3: not JSON: Expecting ','"),
        ('[{"id": 1},\n]', ":2: not JSON"),
        ("[", ":1: not JSON"),
    ],
)
def test_what_breaks_a_list_is_named_by_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=message):
        list(reader(tmp_path / "a.json"))


def test_a_bad_line_of_jsonl_is_one_bad_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"id": 1}\n\n{"id": \n{"id": "\xff"}\n{"id": 2}')
    found = list(reader(tmp_path / "a.jsonl"))
    assert [number for number, _ in found] == [1, 3, 4, 5]
    assert found[3][1] == {"id": 2}
    assert isinstance(found[1][1], Unreadable)
    assert "not UTF-8" in found[2][1].reason


def test_a_byte_in_a_list_that_is_not_utf8_is_half_a_character_of_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'[{"id": "\xff"}, {"id": "b"}]')
    assert list(reader(tmp_path / "a.json")) == [(1, {"id": "\udcff"}), (2, {"id": "b"})]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[{"id": 1}]\n[{"id": 2}]', 2),  # JSONL of lists, or two files in one
        ('[{"id": 1},\n {"id": 2}]\n\n\n{"id": 3}', 5),
        ("[]\n[1]", 2),
        ("[1]]", 1),
    ],
)
@pytest.mark.parametrize("block", [1, 2**20])
def test_nothing_after_a_list_is_dropped(
    tmp_path: Path, text: str, line: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BLOCK", block)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=rf"a\.json:{line}: more after the end of the list"):
        list(reader(tmp_path / "a.json"))


DEEP, LONG = "[" * 200_000 + "]" * 200_000, "9" * 6000
HOSTILE = [
    f'{{"id": {DEEP}}}',
    f'{{"a": "}}]\\"[", "id": {LONG}, "b": {{"c": [1]}}}}',
    LONG,
    DEEP,
]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("block", [3, 2**20])
def test_a_row_beyond_the_limits_of_json_is_one_bad_row(
    tmp_path: Path, name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BLOCK", block)
    rows = [text for bad in HOSTILE for text in ('{"id": 1}', bad)]
    text = "[" + " ,\n".join(rows) + " ]" if name == "a.json" else "\n".join(rows)
    (tmp_path / name).write_text(text)
    found = [value for _, value in reader(tmp_path / name)]
    assert found[::2] == [{"id": 1}] * len(HOSTILE)
    assert all(isinstance(value, Unreadable) for value in found[1::2])
    assert [value.reason.split(":")[1].strip() for value in found[1:4:2]] == [
        "RecursionError",
        "ValueError",
    ]


def test_a_text_of_parquet_that_is_not_utf8_is_one_bad_row(tmp_path: Path) -> None:
    ids = pa.array([b"a", b"\xff", b"c"]).view(pa.string())
    pq.write_table(pa.table({"id": ids, "conversations": ["x"] * 3}), tmp_path / "a.parquet")
    found = dict(reader(tmp_path / "a.parquet"))
    assert [found[1]["id"], found[3]["id"]] == ["a", "c"]
    assert "UnicodeDecodeError" in found[2].reason


def test_what_cannot_be_read_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    splits = {name: datasets.Dataset.from_list(ROWS) for name in ("train", "test")}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "both"))
    pq.write_table(pa.table({"conversation": ["a"]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "empty").mkdir()
    said = {
        "both": "several splits; name one of .*both/train",
        "a.parquet": "no column 'conversations'; did you mean 'conversation'",
        "b.parquet": r"b\.parquet: cannot be read",
        "empty": "holds no parquet files",
        "gone.json": r"no conversations at .*gone\.json",
    }
    for name, message in said.items():
        with pytest.raises(UserError, match=message) as error:
            list(reader(tmp_path / name))
        assert "\n" not in str(error.value)
    assert len(list(reader(tmp_path / "both" / "train"))) == 5
