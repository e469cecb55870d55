"""A stage under a tiling: of pixels and of features, in parts, by length, alone and together."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from rank_toys import Job
from training_toys import Context, Make, assert_same, own_data, weights

from ablate.train import features
from ablate.train.restore import load_trained
from ablate.train.stage import train

PROJECTOR = {"projector": 2e-3}
TILINGS = (
    {"name": "anyres", "grids": ["2x2"], "unpad": True, "newline": True, "tile": 0},
    {"name": "s2", "scales": 2, "tile": 0},
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def tiled(ctx: Context, tiling: dict[str, object], home: Path) -> Context:
    ctx.spec["model"]["tiling"] = tiling
    ctx.home = home
    return ctx


@pytest.mark.parametrize("tiling", TILINGS, ids=lambda tiling: tiling["name"])
def test_features_of_views_are_what_is_seen_in_their_pixels_to_the_bit(
    make_context: Make, home: Path, monkeypatch: pytest.MonkeyPatch, tiling: dict[str, object]
) -> None:
    plain = train(tiled(make_context("plain", "pretrain", train=PROJECTOR), {"name": "none"}, home))
    read = tiled(make_context("read", "pretrain", train=PROJECTOR), tiling, home)
    figures = train(read)
    assert len([*(home / "data").glob("features-*")]) == 2  # of whole images and of views
    assert figures["visual_tokens"] == (4 if tiling["name"] == "s2" else 4 + 4 * 4 + 4)
    assert figures["vision_flops"] == 5 * plain["vision_flops"]
    monkeypatch.setattr(features, "LIMIT", 0)
    seen = tiled(make_context("seen", "pretrain", train=PROJECTOR), tiling, home)
    train(seen)
    assert read.rows() == seen.rows()
    assert_same(weights(read.work), weights(seen.work))


@pytest.mark.usefixtures("llm_without_dropout")
def test_a_step_of_several_micro_batches_by_length_ends_as_one_of_a_batch(
    make_context: Make, home: Path
) -> None:
    rate = {"projector": 1e-3, "encoders": 1e-4, "llm": 1e-4}
    whole, cut = (
        tiled(make_context(name, train=rate, group_by_length=True, infra=infra), TILINGS[0], home)
        for name, infra in (("whole", {}), ("cut", {"micro_batch_size": 1}))
    )
    for ctx in (whole, cut):
        train(ctx)
    for one, other in zip(whole.rows(), cut.rows(), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    model = load_trained(whole.commit())
    assert model.projector.marks.shape == (1, model.spec.llm.width)


@pytest.mark.slow
@pytest.mark.usefixtures("llm_without_dropout")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("tiling", TILINGS, ids=lambda tiling: tiling["name"])
def test_two_processes_with_different_numbers_of_views_learn_what_one_does(
    make_context: Make, home: Path, tmp_path: Path, tiling: dict[str, object], strategy: str
) -> None:
    data = own_data(tmp_path, broken=())
    for number in (1, 4):  # so that one process has more views than the other, and more tokens
        Image.new("RGB", (40, 90), (0, 9 * number, 0)).save(tmp_path / "photos" / f"{number}.png")
    rate = {"projector": 2e-3, "llm": 1e-3, "encoders": 1e-3}

    def job(tasks: int) -> Job:
        ctx = make_context(f"{tasks}-context", data=data, steps=3, batch_size=3, train=rate)
        infra = {"strategy": strategy, "micro_batch_size": 2}
        return Job(tiled(ctx, tiling, home), tmp_path / f"{tasks}", tasks, infra).done()

    alone, pair = job(1), job(2)
    for one, other in zip(alone.rows(), pair.rows(), strict=True):
        assert one["tokens"] == other["tokens"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)
    left, right = weights(alone.artifact), weights(pair.artifact)
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(tensor, right[name], rtol=0, atol=5e-5)
