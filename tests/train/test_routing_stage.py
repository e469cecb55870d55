"""The stage that teaches a language model to name experts: alone, killed, and on two devices."""

from pathlib import Path

import pytest
import torch
from rank_toys import Job
from training_toys import Context, Make, assert_same, train_apart, weights

from ablate.train.restore import load_trained
from ablate.train.stage import train

MIXTURE = "clip-micro@32", "convnext-micro@64", "dinov2-micro@64"
OPTIONS = {"blocks": 1, "keep": 2, "heads": 2, "head_width": 8}


def routed(make_context: Make, folder: str, home: Path, **stage: object) -> Context:
    fields = {"steps": 3, "train": {"fusion": 1e-2}, "objective": {"name": "routing"}, **stage}
    ctx = make_context(folder, "route", encoders=MIXTURE, **fields)
    fusion = {"name": "coarse_to_fine", "grid": [2, 2], "options": OPTIONS}
    ctx.spec["model"]["fusion"] = fusion
    ctx.home = home
    return ctx


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.usefixtures("llm_without_dropout")
def test_it_teaches_who_names_alone_and_a_batch_may_be_cut(make_context: Make, home: Path) -> None:
    whole = routed(make_context, "whole", home)
    cut = routed(make_context, "cut", home, infra={"micro_batch_size": 1})
    train(whole)
    train(cut)
    for one, other in zip(whole.rows(), cut.rows(), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["tokens"] == other["tokens"]
    before = routed(make_context, "before", home, train={"fusion": 1e-12})
    train(before)
    start, end = weights(before.work), weights(whole.work)
    moved = [name for name in end if not torch.allclose(end[name], start[name], atol=1e-6)]
    assert sorted(moved) == ["fusion/asking", "fusion/naming.bias", "fusion/naming.weight"]
    assert load_trained(whole.commit()).names_experts


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_weights(make_context: Make, home: Path) -> None:
    infra = {"checkpoint_every_steps": 1}
    whole, killed = (routed(make_context, name, home, infra=infra) for name in ("whole", "killed"))
    train(whole)
    assert train_apart(killed, 2) != 0
    train(killed)
    assert killed.rows() == whole.rows()
    assert_same(weights(killed.work), weights(whole.work))


@pytest.mark.slow
@pytest.mark.usefixtures("llm_without_dropout")
def test_two_processes_learn_what_one_does(make_context: Make, home: Path, tmp_path: Path) -> None:
    alone, pair = (
        Job(routed(make_context, f"{n}-context", home), tmp_path / f"{n}", n, {"strategy": "ddp"})
        for n in (1, 2)
    )
    for one, other in zip(alone.done().rows(), pair.done().rows(), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    assert (weights(pair.artifact)["fusion/asking"] != 0).all()
