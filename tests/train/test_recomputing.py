"""What `gradient_checkpointing` has recomputed: as little as a GPU's memory asks for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_devices import assert_close, make_job, with_text  # noqa: F401
from training_toys import Make

from ablate.cost.memory import EVERYTHING, NOTHING, Recomputed
from ablate.model.mllm import Mllm
from ablate.train import stage
from ablate.train.plan import Plan
from ablate.train.recomputing import parts_to_recompute
from ablate.train.restore import starting_model
from ablate.train.stage import train


def test_auto_recomputes_only_what_memory_asks_for(
    make_context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"projector": 1e-3, "llm": 1e-3, "encoders": 1e-3}
    ctx = make_context(train=rates, batch_size=64)
    model, plan = starting_model(ctx.spec, ctx.parents), Plan(**ctx.spec["stage"])
    data = SimpleNamespace(lengths=torch.tensor([40, 60]), learnt=torch.tensor([5, 20]))

    def chosen(asked: Any, gib: float, device: str = "cuda") -> Recomputed:
        """On a GPU of so many GiB."""
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (0, gib * 2**30))
        ctx.device, ctx.infra = device, {"gradient_checkpointing": asked}
        return parts_to_recompute(ctx, plan, model, data, 1)  # type: ignore[arg-type]

    assert chosen("auto", gib=80) == NOTHING
    assert chosen("auto", gib=0.01) == EVERYTHING
    rising = [len(chosen("auto", 0.01 * 1.1**step)) for step in range(60)]
    assert set(rising) == {0, 1, 2}
    assert rising == sorted(rising, reverse=True)
    assert chosen(True, gib=80) == EVERYTHING
    assert chosen(False, gib=0.01) == NOTHING
    assert chosen("auto", gib=0.01, device="cpu") == NOTHING


@pytest.mark.usefixtures("llm_without_dropout")
def test_a_part_recomputes_to_the_same_losses(
    make_context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"projector": 1e-3, "llm": 1e-3, "encoders": 1e-3}
    plain, again = (make_context(name, steps=1, train=rates) for name in ("plain", "again"))
    train(plain)
    asked: list[tuple[bool, int]] = []
    enable = Mllm.checkpoint_activations

    def noted(model: Mllm, given: Any) -> None:
        enable(model, given)
        layers = [layer.gradient_checkpointing for layer in model.llm.model.layers]
        asked.append((bool(model.mixture.encoders[0].gradient_checkpointing), sum(layers)))

    monkeypatch.setattr(Mllm, "checkpoint_activations", noted)
    monkeypatch.setattr(stage, "parts_to_recompute", lambda *_: {"llm": 2})
    train(again)
    assert asked == [(False, 1)]  # of two blocks
    assert plain.rows()[0]["loss"] == pytest.approx(again.rows()[0]["loss"], rel=1e-5)
    expected = plain.rows()[0]["grad_norm"]
    assert again.rows()[0]["grad_norm"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.usefixtures("llm_without_dropout")
def test_processes_that_recompute_may_all_have_text_alone_while_a_projector_warms_up(
    make_job: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    how = {"data": with_text(tmp_path), "steps": 2, "warm_projector": 1}  # text, then images
    infra = {"strategy": "ddp", "gradient_checkpointing": True}
    assert_close(make_job("shared", 2, infra, **how).done(), make_job("alone", **how).done())
