"""Images that a tiling cuts: their sizes are known without their pixels, their tokens by size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_toys import LLAMA3, byte_level, jsonl, turns
from PIL import Image

from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.data_sources import WorldData, parse
from ablate.data import sizes as sizes_of_images
from ablate.data.chat import Chat
from ablate.data.collate import collate
from ablate.data.dataset import Conversations
from ablate.data.images import image_size, read_image
from ablate.data.prepare import prepare
from ablate.data.tiles import Tiles
from ablate.errors import UserError
from fusion_zoo.tilings import TILINGS

CHAT = Chat(byte_level(LLAMA3))
SIZES = [(100, 60), (40, 40), (30, 90)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number, (width, height) in enumerate(SIZES):
        pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path


def conversations(folder: Path, tiles: Tiles, *rows: Any, **changed: Any) -> Conversations:
    path = jsonl(folder / "chat.jsonl", *rows)
    room = changed.pop("max_length", 400)
    source = parse({"conversations": path, "images": folder / "photos", **changed})
    return Conversations(
        source, fingerprint(source), CHAT, folder / "data", max_length=room, tiles=tiles
    )


def shown(*images: int) -> dict[str, Any]:
    files = [f"{number}.png" for number in images]
    return {"image": files, "conversations": turns("<image>" * len(files) + "what?", "red")}


@pytest.mark.parametrize("name", TILINGS.names())
def test_a_samples_length_is_that_of_what_is_read_of_it(folder: Path, name: str) -> None:
    tiles = Tiles(TILINGS.build(name, 16), 4, (2, 2))
    text = {"conversations": turns("who?", "I")}
    data = conversations(folder, tiles, shown(0), text, shown(1, 2), shown(2), canvas=64)
    batch = collate([data[n] for n in range(4)])
    assert batch.image_rows.tolist() == [0, 2, 2, 3]
    assert batch.sizes is not None
    order = [0, 1, 2, 2]
    if not tiles.tiling.fixed:
        assert [tuple(size) for size in batch.sizes.tolist()] == [SIZES[n] for n in order]
    assert len(batch.pixels) == sum(tiles.cut(batch.sizes).views)
    counts = tiles.lengths(4, batch.sizes)
    visual = torch.zeros(4, dtype=torch.int64).index_add(0, batch.image_rows, counts - 1)
    assert data.lengths.tolist() == (batch.attention_mask.sum(1) + visual).tolist()
    assert data.visual_tokens == counts.double().mean()


def test_a_row_is_as_long_as_its_own_images_make_it(folder: Path) -> None:
    tiles = Tiles(TILINGS.build("internvl", 16), 4, (2, 2))
    rows = [shown(n) for n in range(3)]
    free = conversations(folder, tiles, *rows)
    assert len({*free.lengths.tolist()}) > 1
    longest = int(free.lengths.max())
    with pytest.raises(UserError, match=f"chat.jsonl:3: {longest} tokens, 52 for images"):
        conversations(folder, tiles, *rows, max_length=longest - 1)
    fewer = conversations(folder, tiles, *rows, max_length=longest - 1, max_bad=2)
    assert sorted(fewer.lengths.tolist()) == sorted(free.lengths.tolist())[: len(fewer)]


def test_sizes_are_looked_up_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = Tiles(TILINGS.build("anyres", 16), 4, (2, 2))
    first = conversations(folder, tiles, shown(0, 1))
    monkeypatch.setattr(sizes_of_images, "image_size", lambda file: pytest.fail("looked again"))
    assert conversations(folder, tiles, shown(0, 1)).lengths.tolist() == first.lengths.tolist()


def test_an_image_that_cannot_be_opened_is_told_when_it_is_learnt_from(folder: Path) -> None:
    (folder / "photos" / "1.png").write_bytes(b"none")
    tiles = Tiles(TILINGS.build("internvl", 16), 4, (2, 2))
    data = conversations(folder, tiles, shown(0), shown(1))
    with pytest.raises(UserError, match=r"chat\.jsonl:2: .*1\.png cannot be read as an image"):
        data[1]


@pytest.mark.parametrize("orientation", [None, 1, 3, 5, 6, 8, 9])
def test_a_size_is_that_of_the_picture_as_it_is_read(
    tmp_path: Path, orientation: int | None
) -> None:
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    file = tmp_path / "a.jpg"
    Image.new("RGB", (30, 20)).save(file, exif=exif)
    _, height, width = read_image(file).shape
    assert image_size(file) == (width, height)


def test_a_missing_picture_has_no_size(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no image at"):
        image_size(tmp_path / "none.png")


def test_the_world_is_drawn_in_the_size_that_plans_count_on(tmp_path: Path) -> None:
    world = WorldData(world="pairs", images=2)
    drawn = sorted(prepare(world, tmp_path).rglob("*.png"))
    assert {image_size(file) for file in drawn} == {world.size}
