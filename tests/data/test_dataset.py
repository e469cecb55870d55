"""Samples of a data source, and batches of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_toys import LLAMA3, byte_level, image, jsonl, row, turns
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.data_sources import parse
from ablate.data.batch import IGNORE_INDEX, IMAGE_TOKEN_ID
from ablate.data.chat import Chat
from ablate.data.collate import MicroBatches, collate
from ablate.data.dataset import BadImage, Conversations, Sample
from ablate.data.images import read_image
from ablate.data.sampler import Order
from ablate.data.tiles import Tiles
from ablate.errors import UserError

CHAT = Chat(byte_level(LLAMA3))


def conversations(folder: Path, *rows: Any, **changed: Any) -> Conversations:
    """Those of one source with the rows; keywords change its fields, or the limits of tokens."""
    path = jsonl(folder / "chat.jsonl", *rows)
    limits = {"max_length": 256, "tiles": Tiles.whole(4)}
    limits |= {key: changed.pop(key) for key in list(changed) if key in limits}
    source = parse({"conversations": path, "images": folder / "photos", **changed})
    return Conversations(source, fingerprint(source), CHAT, folder / "data", **limits)


def mixture(folder: Path, sizes: dict[str, int], **changed: Any) -> Conversations:
    """Text alone, as many rows of each source as said, each answer its source's name and number."""
    mix: dict[str, Any] = {}
    for name, size in sizes.items():
        rows = [{"conversations": turns("?", f"{name} {n}")} for n in range(size)]
        mix[name] = {"conversations": jsonl(folder / f"{name}.jsonl", *rows)}
    for name, weight in changed.pop("weights", {}).items():
        mix[name]["weight"] = weight
    source = parse({"mix": mix, **changed})
    return Conversations(
        source, fingerprint(source), CHAT, folder / "data", max_length=99, tiles=Tiles.whole(4)
    )


def answers(data: Conversations) -> list[str]:
    """What the assistant says in each sample."""
    decode = byte_level(LLAMA3).decode
    samples = [data[n] for n in range(len(data))]
    return [decode(s.ids[s.learn], skip_special_tokens=True) for s in samples]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image(tmp_path / "photos" / "one.png")
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
    assert data.has_image.tolist() == [True, False, True]
    assert data.lengths.tolist() == [len(data[i].ids) + 3 * len(data[i].images) for i in range(3)]


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_an_embedded_image_is_read_from_the_index(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    png = (folder / "photos" / "one.png").read_bytes()
    pq.write_table(pa.Table.from_pylist([row(image=png)]), folder / "a.parquet")
    source = parse({"conversations": folder / "a.parquet"})
    data = Conversations(
        source, fingerprint(source), CHAT, folder / "data", max_length=99, tiles=Tiles.whole(4)
    )
    np.testing.assert_array_equal(data[0].images[0], read_image(folder / "photos" / "one.png"))


def test_a_mixture_takes_of_each_source_as_its_weight_says(folder: Path) -> None:
    sizes = {"b": 10, "a": 20, "c": 5}
    data = mixture(folder, sizes, weights={"a": 0.25, "b": 2.5})
    found = answers(data)
    assert [name[0] for name in found] == ["a"] * 5 + ["b"] * 25 + ["c"] * 5
    assert len(set(found[:5])) == 5
    assert {found.count(f"b {n}") for n in range(10)} == {2, 3}
    assert found[30:] == [f"c {n}" for n in range(5)]


def test_a_share_is_taken_from_the_same_index_as_the_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = mixture(folder, {"a": 8})
    monkeypatch.setattr(Chat, "encode", lambda *_: pytest.fail("tokenised again"))
    share = mixture(folder, {"a": 8}, weight=0.5)
    assert share.parts["a"].index.folder == whole.parts["a"].index.folder
    assert len(share) == 4


def test_the_share_is_drawn_by_the_seed_alone(folder: Path) -> None:
    def chosen(**changed: Any) -> list[str]:
        return answers(mixture(folder, {"a": 40, "b": 40}, weight=0.5, **changed))

    assert chosen() == chosen()
    assert chosen() != chosen(seed=1)
    assert sorted(chosen()[:20]) != sorted(name.replace("b", "a") for name in chosen()[20:])


def test_what_another_source_has_does_not_change_the_choice(folder: Path) -> None:
    short = answers(mixture(folder, {"a": 4, "b": 40}, weights={"b": 0.5}))
    long = answers(mixture(folder, {"a": 9, "b": 40}, weights={"b": 0.5}))
    assert short[4:] == long[9:]


def test_a_conversation_too_long_is_named_with_its_images_counted(folder: Path) -> None:
    length = len(conversations(folder, row())[0].ids)
    assert len(conversations(folder, row(), max_length=length + 3)) == 1
    with pytest.raises(UserError, match=rf"chat\.jsonl:1 \(id 'a'\): {length + 3} tokens, 4 for"):
        conversations(folder, row(), max_length=length + 2)


def test_rows_too_long_or_mute_are_passed_over_within_the_budget(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = row(conversations=turns("<image>", "word " * 99))
    rows = [row(), long, row(image="gone.png"), row(conversations=turns("<image>", "b"))]
    data = conversations(folder, *rows, max_bad=2, max_length=99)
    assert answers(data) == ["a cat", "b"]
    said = capsys.readouterr().err
    assert said.startswith("chat: 2 bad rows of 4 passed over, such as\n")
    assert "chat.jsonl:3 (id 'a'): no image" in said
    assert "chat.jsonl:2 (id 'a'): " in said
    with pytest.raises(UserError, match="chat: 2 bad rows, but max_bad allows 1"):
        conversations(folder, *rows, max_bad=1, max_length=99)


def test_a_source_of_bad_rows_only_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="no row is left"):
        conversations(folder, row(), row(), max_bad=2, max_length=3)


@pytest.mark.parametrize("kept", [0, 0.3, 0.6])
def test_a_broken_image_is_named_with_its_row(folder: Path, kept: float) -> None:
    two = image(folder / "photos" / "two.png", (64, 64))
    two.write_bytes(two.read_bytes()[: int(two.stat().st_size * kept)])
    data = conversations(folder, row(), row(image="two.png"))
    with pytest.raises(UserError, match=r"chat\.jsonl:2 \(id 'a'\): .*two\.png cannot be read"):
        data[1]
    two.unlink()
    with pytest.raises(UserError, match=r"chat\.jsonl:2 \(id 'a'\): no image at .*two\.png"):
        data.readable(1)


def test_for_a_broken_image_the_next_sample_stands_in_where_allowed(folder: Path) -> None:
    for name in ("two.png", "three.png"):
        (folder / "photos" / name).write_bytes(b"no image")
    rows = [row(), row(image="two.png"), row(image="three.png")]
    data = conversations(folder, *rows, max_bad=2)
    sample, bad = data.readable(1)
    np.testing.assert_array_equal(sample.ids, data[0].ids)
    assert [(image.source, image.number) for image in bad] == [("chat", 2), ("chat", 3)]
    assert "two.png cannot be read" in bad[0].reason
    assert data.readable(0)[1] == []
    assert data.parts["chat"].budget.bad == 0  # who counts is the one who trains


def test_where_no_image_can_be_read_it_ends(folder: Path) -> None:
    (folder / "photos" / "one.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="no image can be read; the first: "):
        conversations(folder, row(), row(), max_bad=2).readable(1)


@pytest.mark.parametrize("padding", [(122, 116, 104), (0, 0, 0)])
def test_a_canvas_pads_to_a_square_and_resizes(
    tmp_path: Path, padding: tuple[int, int, int]
) -> None:
    wide = image(tmp_path / "wide.png", (8, 4), "white")
    pixels = read_image(wide, 16, padding)
    assert pixels.shape == (3, 16, 16)
    assert (pixels[:, 0] == np.array(padding)[:, None]).all()
    assert (pixels[:, 15] == np.array(padding)[:, None]).all()
    assert pixels[:, 8].min() == 255


def test_the_default_padding_is_the_published_mean_colour(folder: Path) -> None:
    """LLaVA and Eagle pad with int(255 * mean) of CLIP's processor."""
    mean = (0.48145466, 0.4578275, 0.40821073)
    image(folder / "photos" / "wide.png", (8, 2))
    data = conversations(folder, row(image="wide.png"), canvas=8)
    assert data[0].images[0][:, 0, 0].tolist() == [int(255 * channel) for channel in mean]


def test_pictures_of_any_mode_become_rgb(tmp_path: Path) -> None:
    for mode in "1", "L", "P", "RGBA", "CMYK", "I;16":
        suffix = "tif" if mode == "CMYK" else "png"
        Image.new(mode, (4, 2)).save(tmp_path / f"a.{suffix}")
        assert read_image(tmp_path / f"a.{suffix}").shape == (3, 2, 4)


def test_images_of_two_sizes_in_one_batch_are_refused_with_the_remedy(folder: Path) -> None:
    image(folder / "photos" / "big.png", (9, 7))
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
    batches = MicroBatches(data, Order(7, size, seed=0), micro, weigh=lambda learnt: learnt)  # type: ignore[arg-type]
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

    def readable(self, row: int) -> tuple[Sample, list[BadImage]]:
        length = int(self.learnt[row])
        return Sample(np.full(length, row, np.int32), np.ones(length, dtype=bool), []), []
