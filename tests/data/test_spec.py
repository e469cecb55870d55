"""Data sources as studies write them, and the published ones."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ablate.catalog.data_sources import FileData, MixData, WorldData, missing, parse, require, rows
from ablate.config.study import STUDIES_DIR
from ablate.errors import UserError

WORLD = {"world": "conversations", "images": 3, "seed": 1}
FILES = {"conversations": "a.json", "images": "photos"}
PUBLISHED = yaml.safe_load((STUDIES_DIR / "eagle" / "data.yaml").read_text())["data"]


def test_a_source_is_of_the_world_of_files_or_a_mixture() -> None:
    assert isinstance(parse(WORLD), WorldData)
    assert isinstance(parse({**FILES, "fingerprint": {}}), FileData)
    assert isinstance(parse({"mix": {"a": FILES}}), MixData)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"world": "pears", "images": 3}, "world"),
        ({"world": "pairs", "images": 0}, "images"),
        ({"world": "pairs", "images": 3, "sed": 1}, "sed"),
        ({"images": "a"}, "conversations"),
        ({**FILES, "max_bad": -1}, "max_bad"),
        ({**FILES, "weight": 0}, "weight"),
        ({**FILES, "padding": [0, 0, 256]}, "padding.2"),
        ({"mix": {}}, "mix"),
        ({"mix": {"../a": FILES}}, r"mix.../a.\[key\]"),
        ({"mix": {"a": {**FILES, "wieght": 1}}}, "mix.a.wieght"),
    ],
)
def test_a_wrong_field_of_a_source_is_named(raw: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError, match=f"data source: {field}: "):
        parse(raw)


@pytest.mark.parametrize(("max_bad", "of_1000"), [(0, 0), (0.0015, 1), (0.5, 500), (1, 1), (7, 7)])
def test_a_budget_is_a_count_or_below_one_a_share(max_bad: float, of_1000: int) -> None:
    source = parse({**FILES, "max_bad": max_bad})
    assert isinstance(source, FileData)
    assert source.allowed(1000) == of_1000


def test_rows_are_counted_as_they_are_taken() -> None:
    parts = {"a": {**FILES, "rows": 100, "weight": 2}, "b": {**FILES, "rows": 50}}
    assert rows(parse(WORLD)) == 3
    assert rows(parse({"mix": parts, "weight": 0.1})) == 25
    assert rows(parse({"mix": {**parts, "c": FILES}})) is None


def test_all_that_is_missing_is_listed_at_once_with_its_rows(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    parts = {
        "a": {"conversations": tmp_path / "a.json", "images": tmp_path / "photos", "rows": 1000},
        "b": {"conversations": tmp_path / "b.json", "rows": 234},
        "c": {"conversations": tmp_path / "a.json"},
    }
    source = parse({"mix": parts})
    assert list(missing(source)) == ["a", "b"]
    with pytest.raises(UserError) as error:
        require([source, parse(WORLD)])
    assert str(error.value) == (
        f"data is missing, 1,234 rows in all: a (1,000 rows): nothing at {tmp_path / 'photos'}; "
        f"b (234 rows): nothing at {tmp_path / 'b.json'}"
    )


def test_the_published_data_has_the_published_counts() -> None:
    sources = {name: parse(raw) for name, raw in PUBLISHED.items()}
    counted = {name: rows(source) for name, source in sources.items()}
    assert counted == {
        "pretrain-558k": 558_000,
        "pretrain-595k": 595_000,
        "sft-934k": 933_000,  # the sum of counts rounded to thousands
        "sft-1.8m": 1_813_000,
        "pairs-and-sft-2.4m": 2_408_000,
        "sft-1.8m-released": 1_800_000,
    }
    small, large = sources["sft-934k"], sources["sft-1.8m"]
    assert isinstance(small, MixData)
    assert isinstance(large, MixData)
    assert len(small.mix) == 8
    assert large.mix.items() > small.mix.items()
    assert [name for name, files in large.mix.items() if not files.images] == ["open-hermes-2.5"]
    assert all(files.origin for source in sources.values() for files in source.parts.values())
