"""Samples of a prepared folder, and batches of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_toys import LLAMA3, byte_level, image, jsonl, row, turns
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ablate.data.batch import IGNORE_INDEX, IMAGE_TOKEN_ID
from ablate.data.chat import Chat
from ablate.data.collate import MicroBatches, collate
from ablate.data.dataset import Conversations, Sample, read_image
from ablate.data.sampler import Order
from ablate.errors import UserError

CHAT = Chat(byte_level(LLAMA3))


def conversations(folder: Path, *rows: Any, **changed: Any) -> Conversations:
    jsonl(folder / "conversations.jsonl", *rows)
    options = {"max_length": 256, "visual_tokens": 4, **changed}
    return Conversations(folder, CHAT, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image(tmp_path / "one.png")
    return tmp_path


def test_samples_hold_tokens_and_decoded_images(folder: Path) -> None:
    text = {"id": "t", "conversations": turns("hi", "yes")}
    data = conversations(folder, row(), text, row(conversations=turns("<image> a", "b")))
    assert len(data) == 3
    [expected] = CHAT.encode([[{"role": "user", "content": "hi"}, _assistant("yes")]])
    np.testing.assert_array_equal(data[1].ids, expected.ids)
    assert data[1].images == []
    assert data[0].images[0].shape == (3, 8, 8)
    assert data[0].images[0][:, 0, 0].tolist() == [255, 0, 0]
    assert data.learnt.tolist() == [int(data[i].learn.sum()) for i in range(3)]


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_tokens_are_made_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = conversations(folder, row())[0]
    monkeypatch.setattr(Chat, "encode", lambda *_: pytest.fail("tokenised again"))
    np.testing.assert_array_equal(conversations(folder, row())[0].ids, first.ids)


def test_a_conversation_too_long_is_named_with_its_images_counted(folder: Path) -> None:
    length = len(conversations(folder, row())[0].ids)
    assert len(conversations(folder, row(), max_length=length + 3)) == 1
    with pytest.raises(UserError, match=rf"conversations\.jsonl:1: {length + 3} tokens, 4 for"):
        conversations(folder, row(), max_length=length + 2)


@pytest.mark.parametrize("kept", [0, 0.3, 0.6])
def test_a_broken_image_is_named_with_its_row(folder: Path, kept: float) -> None:
    whole = image(folder / "two.png", (64, 64)).read_bytes()
    (folder / "two.png").write_bytes(whole[: int(len(whole) * kept)])
    data = conversations(folder, row(), row(image="two.png"))
    with pytest.raises(UserError, match=r"conversations\.jsonl:2: .*two\.png cannot be read"):
        data[1]
    (folder / "two.png").unlink()
    with pytest.raises(UserError, match=r"conversations\.jsonl:2: no image at .*two\.png"):
        data[1]


def test_a_canvas_pads_to_a_square_and_resizes(tmp_path: Path) -> None:
    wide = image(tmp_path / "wide.png", (8, 4), "white")
    pixels = read_image(wide, canvas=16)
    assert pixels.shape == (3, 16, 16)
    assert pixels[:, 0].max() == 0
    assert pixels[:, 8].min() == 255


def test_pictures_of_any_mode_become_rgb(tmp_path: Path) -> None:
    for mode in "1", "L", "P", "RGBA", "CMYK", "I;16":
        suffix = "tif" if mode == "CMYK" else "png"
        Image.new(mode, (4, 2)).save(tmp_path / f"a.{suffix}")
        assert read_image(tmp_path / f"a.{suffix}").shape == (3, 2, 4)


def test_images_of_two_sizes_in_one_batch_are_refused_with_the_remedy(folder: Path) -> None:
    image(folder / "big.png", (9, 7))
    data = conversations(folder, row(), row(image="big.png"))
    with pytest.raises(UserError, match=r"9x7 and 8x8 pixels .* canvas"):
        collate([data[0], data[1]])


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    made = []
    for length in draw(st.lists(st.integers(1, 9), min_size=1, max_size=5)):
        images = draw(st.integers(0, min(2, length)))
        ids = np.arange(1, length + 1, dtype=np.int32)
        ids[:images] = IMAGE_TOKEN_ID
        learn = np.arange(length) >= images
        picture = np.full((3, 2, 2), length, dtype=np.uint8)
        made.append(Sample(ids, learn, [picture] * images))
    return made


@given(samples=samples())
def test_a_batch_holds_every_sample_padded_on_the_right(samples: list[Sample]) -> None:
    batch = collate(samples)
    longest = max(len(sample.ids) for sample in samples)
    assert batch.input_ids.shape == batch.labels.shape == (len(samples), longest)
    for i, sample in enumerate(samples):
        length = len(sample.ids)
        assert batch.input_ids[i, :length].tolist() == sample.ids.tolist()
        assert batch.attention_mask[i].tolist() == [True] * length + [False] * (longest - length)
        labels = np.where(sample.learn, sample.ids, IGNORE_INDEX).tolist()
        assert batch.labels[i].tolist() == labels + [IGNORE_INDEX] * (longest - length)
        assert (batch.pixels[batch.image_rows == i] == length).all()
    assert len(batch.pixels) == len(batch.image_rows) == (batch.input_ids < 0).sum()
    assert batch.pixels.dtype == torch.uint8


@settings(deadline=None)
@given(size=st.integers(1, 7), micro=st.integers(1, 8), step=st.integers(0, 5))
def test_micro_batches_share_out_a_steps_samples(size: int, micro: int, step: int) -> None:
    data = Lengths(lengths=[3, 1, 4, 1, 5, 9, 2])
    batches = MicroBatches(data, Order(7, size, seed=0), micro)  # type: ignore[arg-type]
    numbers = range(step * batches.parts, (step + 1) * batches.parts)
    parts = [batches[number] for number in numbers]
    assert sum(part.share for part in parts) == pytest.approx(1)
    assert all(len(part.batch.input_ids) <= micro for part in parts)
    seen = [ids[0] for part in parts for ids in part.batch.input_ids.tolist()]
    assert seen == batches.order.batch(step).tolist()


class Lengths:
    """Conversations whose tokens are all their own number."""

    def __init__(self, lengths: list[int]) -> None:
        self.learnt = np.array(lengths)

    def __getitem__(self, row: int) -> Sample:
        length = int(self.learnt[row])
        return Sample(np.full(length, row, np.int32), np.ones(length, dtype=bool), [])
