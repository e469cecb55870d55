"""Parts that train by an adapter: what learns, what is left, and what goes on from there."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from adapter_toys import LORA, NAMES, attached
from encoder_toys import SPECS
from rank_toys import Job
from torch import nn
from training_toys import Make, assert_same, train_apart, weights

from ablate.adapters import linear_layers
from ablate.catalog.adapters import ADAPTERS
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.encoders.build import build_encoder
from ablate.model.mllm import Mllm
from ablate.train import stage as stage_file
from ablate.train.restore import load_trained, starting_model
from ablate.train.stage import train

BY_LORA: dict[str, Any] = {
    "train": {"projector": 2e-3, "llm": 5e-3},
    "adapters": {"llm": LORA},
}


def seen(model: Mllm) -> torch.Tensor:
    """The last hidden states for an image."""
    pixels = torch.linspace(0, 1, 3 * 32 * 32).view(1, 3, 32, 32)
    visual = model.projector(model.mixture(pixels))
    hidden: torch.Tensor = model.llm(inputs_embeds=visual, use_cache=False).logits
    return hidden


@pytest.mark.parametrize("part", ["encoders", "projector", "llm"])
@pytest.mark.parametrize("name", NAMES)
def test_an_adapter_starts_as_the_part_was_learns_and_is_folded_into_it(
    make_context: Make, name: str, part: str
) -> None:
    model = starting_model(make_context().spec, {}).eval()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    expected = seen(model)
    adapter, learning = attached(name, model.parts[part])
    if adapter.exact:
        torch.testing.assert_close(seen(model), expected)
    else:
        assert (seen(model) - expected).norm() < 0.5 * expected.norm()

    with torch.no_grad():
        for parameter in learning:
            parameter.add_(0.1 * torch.randn_like(parameter))
    seen(model).square().sum().backward()
    assert learning
    assert all(p.grad is not None and bool(p.grad.any()) for p in learning)
    assert sum(p.requires_grad for p in model.parts[part].parameters()) == len(learning)

    learnt = seen(model)
    assert not torch.allclose(learnt, expected, atol=1e-3)
    with torch.no_grad():
        adapter.merge(model.parts[part])
    torch.testing.assert_close(seen(model), learnt, rtol=1e-4, atol=1e-4)
    after = model.state_dict()
    assert {key: t.shape for key, t in after.items()} == {k: t.shape for k, t in before.items()}
    prefix = {"encoders": "mixture.encoders."}.get(part, f"{part}.")
    changed = {key for key, tensor in after.items() if not torch.equal(tensor, before[key])}
    assert changed
    assert all(key.startswith(prefix) for key in changed)


LINEAR = [spec for spec in SPECS if spec.family != "map"]  # which has convolutions alone


@pytest.mark.parametrize("spec", LINEAR, ids=lambda spec: spec.title)
def test_every_layer_that_may_have_an_adapter_is_called_by_its_encoder(spec: EncoderSpec) -> None:
    encoder = build_encoder(spec, load_weights=False).train()
    assert linear_layers(encoder)
    _, learning = attached("lora", nn.ModuleList([encoder]))
    features = encoder(torch.rand(2, 3, spec.resolution, spec.resolution)).tensor
    features.square().sum().backward()
    names = {id(p): name for name, p in encoder.named_parameters()}
    assert [names[id(p)] for p in learning if p.grad is None] == []


def test_a_stage_trains_the_adapter_alone_and_leaves_the_plain_part(
    make_context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_context(**BY_LORA, infra={"checkpoint_every_steps": 4})
    checkpoints: list[set[str]] = []
    logits: list[torch.Tensor] = []
    merge = stage_file.merge_adapters

    def merged(model: Mllm, *more: Any) -> None:
        [state] = (ctx.work / "checkpoint").glob("*")
        checkpoints.append(set(weights(state)))
        logits.append(seen(model.eval()))
        merge(model, *more)

    monkeypatch.setattr(stage_file, "merge_adapters", merged)
    result = train(ctx)
    start, end = starting_model(ctx.spec, {}), load_trained(ctx.commit())
    assert end.state_dict().keys() == start.state_dict().keys()
    torch.testing.assert_close(seen(end.eval()), logits[0], rtol=1e-4, atol=1e-5)
    kept = [name for name in checkpoints[0] if "weight:llm" in name]
    assert kept
    assert all("lora_" in name for name in kept)

    layers = linear_layers(start.llm)
    own = sum(LORA["rank"] * sum(layer.weight.shape) for layer in layers.values())  # type: ignore
    rows = {row["part"]: row for row in json.loads((ctx.work / "parameters.json").read_text())}
    size = sum(parameter.numel() for parameter in start.llm.parameters())
    said = {"part": "llm", "parameters": size, "trainable": own, "adapter": "LoRA r=4"}
    assert rows["llm"] == said
    assert result["trainable"] == own + rows["projector"]["parameters"]
    assert result["parameters"] == sum(p.numel() for p in start.parameters())
    assert ctx.rows()[-1]["lr"].keys() == {"projector", "llm"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=pytest.mark.slow) if one == "dora" else one for one in NAMES],
)
def test_killed_and_resumed_it_ends_with_the_same_bits(make_context: Make, name: str) -> None:
    adapter = {"name": name, **ADAPTERS.options(name)}
    if "dropout" in adapter:
        adapter["dropout"] = 0.2
    how: dict[str, Any] = {**BY_LORA, "adapters": {"llm": adapter}, "warm_projector": 1}
    infra = {"checkpoint_every_steps": 2, "micro_batch_size": 2}
    calm = make_context("calm", **how, infra=infra)
    train(calm)
    stopped = make_context("stopped", **how, infra=infra)
    assert train_apart(stopped, 5) != 0
    train(stopped)
    assert stopped.journal.read_bytes() == calm.journal.read_bytes()
    assert_same(weights(stopped.work), weights(calm.work))


def test_the_next_stage_starts_from_what_the_adapter_learnt_whole_or_by_another(
    make_context: Make,
) -> None:
    first = make_context("first", "pretrain", **BY_LORA, steps=2)
    train(first)
    parents = {"pretrain": first.commit()}
    assert "llm" in {path.stem for path in first.work.glob("*.safetensors")}
    whole = make_context("whole", parents=parents, steps=2)
    again = make_context("again", parents=parents, steps=2, **BY_LORA)
    learnt = load_trained(first.work).state_dict()
    for ctx in whole, again:
        assert_same(dict(starting_model(ctx.spec, ctx.parents).state_dict()), dict(learnt))
        train(ctx)
        assert not torch.equal(
            load_trained(ctx.commit()).state_dict()["llm.model.layers.0.mlp.up_proj.weight"],
            learnt["llm.model.layers.0.mlp.up_proj.weight"],
        )


def test_frozen_weights_below_recomputed_blocks_still_let_the_adapter_learn(
    make_context: Make, llm_without_dropout: None
) -> None:
    how = {"train": {"llm": 5e-3}, "adapters": {"llm": {**LORA, "dropout": 0.0}}, "steps": 3}
    kept = make_context("kept", **how)
    recomputed = make_context("recomputed", **how, infra={"gradient_checkpointing": True})
    for ctx in kept, recomputed:
        train(ctx)
    for row, expected in zip(recomputed.rows(), kept.rows(), strict=True):
        assert row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-5)
        assert row["grad_norm"] > 0


@pytest.mark.usefixtures("llm_without_dropout")
@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        pytest.param("lora", "ddp", marks=pytest.mark.slow),
        ("layers", "fsdp"),
        *(
            pytest.param(name, "fsdp", marks=pytest.mark.slow)
            for name in ADAPTERS.names()
            if name not in ("layers", "qlora")
        ),
    ],
)
def test_two_processes_do_the_steps_of_one(
    make_context: Make, tmp_path: Path, name: str, strategy: str
) -> None:
    adapter = {"name": name, **ADAPTERS.options(name)}
    learning = {"projector": 2e-3, "llm": 5e-3, "encoders": 1e-3}
    both = {"llm": adapter, "encoders": adapter}
    ctx = make_context(train=learning, adapters=both, batch_size=5, steps=4, warm_projector=1)
    infra = {"micro_batch_size": 2, "strategy": strategy}
    alone, shared = (Job(ctx, tmp_path / str(tasks), tasks, infra).done() for tasks in (1, 2))
    for row, expected in zip(shared.rows(), alone.rows(), strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=2e-6)
        assert row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4)
    left, right = weights(shared.artifact), weights(alone.artifact)
    assert left.keys() == right.keys()
    for key, tensor in left.items():
        torch.testing.assert_close(tensor, right[key], rtol=0, atol=5e-5, msg=key)
