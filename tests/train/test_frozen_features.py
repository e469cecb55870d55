"""Frozen encoders see each image once: what stages read of it is what they would have seen."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training_toys import Context, Make, assert_same, own_data, weights

from ablate.errors import UserError
from ablate.train import features
from ablate.train.stage import train

TWO = ("clip-micro@32", "dinov2-micro@64")
PROJECTOR = {"projector": 2e-3}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def kept(home: Path) -> list[Path]:
    return sorted((home / "data").glob("features-*"))


def trained(ctx: Context, home: Path) -> Context:
    ctx.home = home
    train(ctx)
    return ctx


@pytest.mark.parametrize("encoders", [TWO, ("convnext-micro-pyramid@128",)])
def test_a_stage_learns_from_features_what_it_learns_from_pixels_to_the_bit(
    make_context: Make, home: Path, monkeypatch: pytest.MonkeyPatch, encoders: tuple[str, ...]
) -> None:
    read = trained(make_context("read", "pretrain", encoders=encoders, train=PROJECTOR), home)
    assert len(kept(home)) == len(encoders)
    shutil.rmtree(home / "data")
    monkeypatch.setattr(features, "LIMIT", 0)
    seen = trained(make_context("seen", "pretrain", encoders=encoders, train=PROJECTOR), home)
    assert kept(home) == []
    assert read.rows() == seen.rows()
    assert_same(weights(read.work), weights(seen.work))


def test_candidates_share_the_features_of_an_encoder(make_context: Make, home: Path) -> None:
    trained(make_context("one", "pretrain", encoders=TWO[:1], train=PROJECTOR), home)
    [first] = kept(home)
    file = first / features.FILE
    made = file.stat().st_mtime_ns
    trained(make_context("two", "pretrain", encoders=TWO, train=PROJECTOR), home)
    assert len(kept(home)) == 2
    assert file.stat().st_mtime_ns == made


def test_other_weights_or_other_images_have_features_of_their_own(
    make_context: Make, home: Path, tmp_path: Path
) -> None:
    trained(make_context("one", "pretrain", train=PROJECTOR), home)
    other = {"world": "conversations", "images": 12, "seed": 2}
    trained(make_context("two", "pretrain", train=PROJECTOR, data=other), home)
    assert len(kept(home)) == 2
    learnt = make_context("learnt", "finetune", train={"encoders": 1e-3})
    folder = trained(learnt, home).commit()
    parents = {"prealign:clip-micro@32": folder}
    trained(make_context("three", "pretrain", train=PROJECTOR, parents=parents), home)
    assert len(kept(home)) == 3


@pytest.mark.parametrize(
    "stage",
    [
        {"train": {"projector": 1e-3, "encoders": 1e-3}},
        {"train": PROJECTOR, "steps": 2},
        {"train": PROJECTOR, "precision": "bf16"},
    ],
    ids=["its encoders learn", "it sees few of the images", "it computes in half precision"],
)
def test_a_stage_sees_pixels_where_features_are_no_gain(
    make_context: Make, home: Path, stage: dict[str, object]
) -> None:
    trained(make_context(kind="pretrain", **stage), home)
    assert kept(home) == []


def test_a_stage_sees_pixels_where_the_disk_has_no_room_for_features(
    make_context: Make, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(home)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    trained(make_context(kind="pretrain", train=PROJECTOR), home)
    assert kept(home) == []


def test_an_image_that_cannot_be_read_is_named_by_file_and_row(
    make_context: Make, home: Path, tmp_path: Path
) -> None:
    data = own_data(tmp_path, broken=(4,))
    with pytest.raises(UserError, match=r"own\.json.*5.*4\.png.*cannot be read"):
        trained(make_context(kind="pretrain", train=PROJECTOR, data=data), home)
    assert kept(home) == []


def test_bad_images_are_passed_over_as_ever_where_the_source_allows_them(
    make_context: Make, home: Path, tmp_path: Path
) -> None:
    data = own_data(tmp_path, broken=(4,), max_bad=1)
    trained(make_context(kind="pretrain", train=PROJECTOR, data=data), home)
    assert kept(home) == []


def test_an_image_of_a_row_that_is_not_taken_need_not_be_readable(
    make_context: Make, home: Path, tmp_path: Path
) -> None:
    source = own_data(tmp_path, broken=())
    mix = {"mix": {"half": {**source, "weight": 0.5}}, "canvas": 32}
    trained(make_context(kind="pretrain", train=PROJECTOR, data=mix), home)
    assert kept(home) == []


def test_of_a_mixture_with_text_the_images_have_features(
    make_context: Make, home: Path, tmp_path: Path
) -> None:
    turns = [{"from": "human", "value": "how many"}, {"from": "gpt", "value": "3"}]
    (tmp_path / "text.json").write_text(json.dumps([{"conversations": turns}] * 5))
    mix = {"seen": own_data(tmp_path, ()), "text": {"conversations": str(tmp_path / "text.json")}}
    data = {"mix": mix, "canvas": 32}
    trained(make_context(kind="pretrain", train=PROJECTOR, data=data, batch_size=2), home)
    assert len(kept(home)) == 1


def test_images_of_several_sizes_are_seen_size_by_size(
    make_context: Make, home: Path, tmp_path: Path
) -> None:
    data = own_data(tmp_path, broken=())
    Image.new("RGB", (32, 48), (7, 7, 7)).save(tmp_path / "photos" / "3.png")
    trained(make_context(kind="pretrain", train=PROJECTOR, data=data, batch_size=1), home)
    [folder] = kept(home)
    rows = np.fromfile(folder / features.FILE, dtype=np.float32).reshape(6, -1)
    assert len({row.tobytes() for row in rows}) == 6
