"""What the micro world promises about the files it writes."""

import json
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from ablate.data.world import digits
from ablate.data.world.build import build_split
from ablate.data.world.digits import digit_indices
from ablate.data.world.draw import CANVAS, CENTRES, PARTS, draw_scene
from ablate.data.world.questions import FAMILIES
from ablate.data.world.scenes import KINDS, Scene, sample_scene
from ablate.errors import UserError


def rows(folder: Path) -> list[dict]:
    (file,) = folder.glob("*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_test_split_asks_every_family_equally_often(tmp_path: Path) -> None:
    build_split("test", 80, 0, tmp_path)
    asked = rows(tmp_path)
    assert Counter(row["family"] for row in asked) == dict.fromkeys(FAMILIES, 40)
    assert len({row["id"] for row in asked}) == len(asked)
    assert len(list((tmp_path / "images").iterdir())) == 80
    assert all((tmp_path / row["image"]).is_file() for row in asked)


@pytest.mark.parametrize("split", ["pairs", "conversations"])
def test_training_splits_are_llava_rows(split: str, tmp_path: Path) -> None:
    build_split(split, 16, 0, tmp_path)
    for row in rows(tmp_path):
        said = row["conversations"]
        assert [turn["from"] for turn in said] == ["human", "gpt"] * (len(said) // 2)
        assert said[0]["value"].startswith("<image>\n")
        assert sum("<image>" in turn["value"] for turn in said) == 1
        with Image.open(tmp_path / row["image"]) as image:
            assert image.size == (CANVAS, CANVAS)
    assert len(rows(tmp_path)) == 16


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        build_split("conversations", 8, seed, tmp_path / name)
    files = {
        name: [path.read_bytes() for path in sorted((tmp_path / name).rglob("*.*"))]
        for name in "abc"
    }
    assert files["a"] == files["b"]
    assert files["a"] != files["c"]


def test_training_and_held_out_images_share_nothing(tmp_path: Path) -> None:
    seen, unseen = digit_indices(False), digit_indices(True)
    for digit in seen:
        assert seen[digit]
        assert unseen[digit]
    everything = [index for part in (seen, unseen) for found in part.values() for index in found]
    assert len(everything) == len(set(everything)) == 1797
    images = {}
    for split in ("pairs", "conversations", "test"):
        build_split(split, 160, 0, tmp_path / split)
        images[split] = {path.read_bytes() for path in (tmp_path / split / "images").iterdir()}
    assert not images["test"] & (images["pairs"] | images["conversations"])


def test_unknown_split_and_empty_split_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'pairs'"):
        build_split("pair", 4, 0, tmp_path)
    with pytest.raises(UserError, match="at least 1"):
        build_split("pairs", 0, 0, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_drawing_is_reproducible_and_fills_the_canvas(kind: str) -> None:
    scene = sample_scene(kind, Random(5))
    one, two = (draw_scene(scene, Random(6), held_out=True) for _ in range(2))
    assert one.image.tobytes() == two.image.tobytes()
    assert one.image.size == (CANVAS, CANVAS)


def test_centres_and_parts_say_what_was_drawn() -> None:
    things = sample_scene("objects", Random(7))
    picture = draw_scene(things, Random(7))
    found = Counter(CENTRES[what] for what, _, _ in picture.centres)
    marks = {"one": 1, "two": 2, "three": 3, "four": 4}
    cells = things.cells.values()
    assert found["thing"] == len(things.cells)
    assert found["digit"] == sum("digit" in cell for cell in cells)
    assert found["mark"] == sum(marks[cell["dots"]] for cell in cells if "dots" in cell)
    bars = draw_scene(sample_scene("chart", Random(8)), Random(8))
    assert set(np.unique(np.asarray(bars.parts))) == {
        PARTS.index(part) for part in ("paper", "filled", "empty")
    }


def test_detail_averages_out_at_the_resolution_of_the_base() -> None:
    """Patterns, dots and levels leave the mean tone of their cell as it is."""

    def mean(kind: str, cell: dict[str, str]) -> np.ndarray:
        drawn = [draw_scene(Scene(kind, {(0, 0): cell}), Random(seed)).image for seed in range(60)]
        return np.mean([np.asarray(image)[:32, :32].mean((0, 1)) for image in drawn], axis=0)

    thing = {"colour": "red", "pattern": "solid", "shape": "square", "dots": "one"}
    for change in ({"pattern": "striped"}, {"pattern": "checked"}, {"dots": "four"}):
        assert np.abs(mean("objects", thing | change) - mean("objects", thing)).max() < 4
    bar = {"colour": "blue", "kind": "bar", "level": "1"}
    assert np.abs(mean("chart", bar | {"level": "6"}) - mean("chart", bar)).max() < 4


@pytest.mark.slow  # for what is imported here alone
def test_the_digits_are_those_that_scikit_learn_gives() -> None:
    from sklearn.datasets import load_digits

    known = load_digits()
    assert np.array_equal(digits._rows(), np.column_stack([known.data, known.target]))
