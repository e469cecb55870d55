"""Parts that train by an adapter: what learns, what is left, and what goes on from there."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from documented import ONE_STEP, Example
from encoder_toys import SPECS
from rank_toys import Job
from torch import nn
from training_toys import Make, assert_same, train_apart, weights

from ablate.adapters import Adapter, linear_layers
from ablate.catalog.adapters import ADAPTERS, label
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.catalog.model_spec import ModelSpec
from ablate.catalog.parts import PARTS
from ablate.config.study import load_study
from ablate.cost import estimate as cost
from ablate.cost.adapters import adapter_cost, check_adapters
from ablate.design import encoder_spec, llm_spec
from ablate.design.recipe import StageConfig
from ablate.encoders.build import build_encoder
from ablate.errors import UserError
from ablate.model.mllm import Mllm, build_model
from ablate.reports import tables
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.results import StoredResults
from ablate.train import stage as stage_file
from ablate.train.restore import load_trained, starting_model
from ablate.train.stage import train

NEEDS_BITSANDBYTES = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="needs bitsandbytes"
)
NAMES = [
    pytest.param(name, marks=NEEDS_BITSANDBYTES) if name == "qlora" else name
    for name in ADAPTERS.names()
]
LORA = {"name": "lora", "rank": 4, "alpha": 8.0, "targets": [], "dropout": 0.1}
BY_LORA: dict[str, Any] = {
    "train": {"projector": 2e-3, "llm": 5e-3},
    "adapters": {"llm": LORA},
}


def attached(name: str, part: nn.Module) -> tuple[Adapter, list[nn.Parameter]]:
    """The part with an adapter by default options, in which all else is frozen."""
    adapter: Adapter = ADAPTERS.build(name)
    torch.manual_seed(0)
    learning = [*adapter.attach(part)]
    part.requires_grad_(False)
    for parameter in learning:
        parameter.requires_grad_(True)
    return adapter, learning


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


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.title)
def test_every_layer_that_may_have_an_adapter_is_called_by_its_encoder(spec: EncoderSpec) -> None:
    encoder = build_encoder(spec, load_weights=False).train()
    assert linear_layers(encoder)
    _, learning = attached("lora", encoder)
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


@pytest.mark.parametrize("name", NAMES)
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
    [("lora", "ddp"), *((name, "fsdp") for name in ADAPTERS.names() if name != "qlora")],
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


def stage(**train: Any) -> StageConfig:
    return StageConfig.model_validate({"data": "d", "steps": 1, "batch_size": 1, "train": train})


def test_a_stage_keeps_rates_and_adapters_apart_and_reads_what_it_wrote() -> None:
    found = stage(projector=1e-3, llm={"lr": 1e-4, "lora": {"rank": 4, "targets": ["q_proj"]}})
    assert found.train == {"projector": 1e-3, "llm": 1e-4}
    options = {"rank": 4, "alpha": 32.0, "targets": ["q_proj"], "dropout": 0.0}
    assert found.adapters == {"llm": {"name": "lora", **options}}
    assert StageConfig.model_validate(found.model_dump()) == found
    for plain in ({"lr": 1e-4}, {"lr": 1e-4, "lora": None}):
        assert stage(llm=plain) == stage(llm=1e-4)
    assert "adapters" not in stage(llm=1e-4).model_dump()


def test_an_adapter_of_a_part_that_does_not_train_is_refused() -> None:
    with pytest.raises(UserError, match=r"finetune.adapters.llm: an adapter needs a rate: llm"):
        load_study(
            "micro/smoke",
            [
                "base.recipe.finetune.train.llm=null",
                "base.recipe.finetune.adapters={llm: {name: lora}}",
            ],
        )


@pytest.mark.parametrize(
    ("part", "written", "says"),
    [
        ("llm", "{lr: 1.0e-3, lroa: {}}", "llm.lroa: no adapter 'lroa'; did you mean 'lora'?"),
        ("llm", "{lora: {rank: 4}}", "llm: its lr is missing, as in {lr: 1.0e-4, lora:"),
        ("llm", "{lr: 1.0e-3, lora: {rnk: 4}}", "has no option 'rnk'; did you mean 'rank'?"),
        ("llm", "{lr: 1.0e-3, lora: {rank: r}}", "option 'rank' of adapter 'lora' is int, got 'r'"),
        (
            "llm",
            "{lr: 1.0e-3, lora: {targets: q}}",
            "'targets' of adapter 'lora' is a list of",
        ),
        ("llm", "{lr: 1.0e-3, lora: 4}", "lora: its options should be a dictionary, got 4"),
        ("llm", "{lr: no, lora: {}}", "llm: should be a valid number, got 'no'"),
        ("llm", "{lr: 1.0e-3, lora: {}, dora: {}}", "one adapter a part is possible, not dora and"),
        ("lmm", "{lr: 1.0e-3, lora: {}}", "'lmm' is no valid value; did you mean 'llm'?"),
        ("llm", "{lr: 1.0e-3, lora: {rank: 0}}", "lora: rank is 0; the least is 1"),
        ("llm", "{lr: 1.0e-3, lora: {targets: [q_prj]}}", "'q_prj' in it; did you mean 'q_proj'?"),
        ("llm", "{lr: 1.0e-3, lora: {targets: [lm_head]}}", "no linear layer 'lm_head' in it;"),
        ("fusion", "{lr: 1.0e-3, lora: {}}", "fusion.lora: there are no linear layers in it; give"),
        ("llm", "{lr: 1.0e-3, layers: layer.0}", "in 'layer.0'; did you mean 'model.layers.0'?"),
        ("llm", "{lr: 1.0e-3, layers: 4}", "layers: its options should be a dictionary, got 4"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_launched(
    part: str, written: str, says: str
) -> None:
    with pytest.raises(UserError) as error:
        checked(f"base.recipe.finetune.train.{part}={written}")
    assert says in str(error.value)
    assert f"recipe.finetune.train.{part}" in str(error.value)
    assert "\n" not in str(error.value)


def checked(*changes: str) -> None:
    study = load_study("micro/smoke", changes)
    rounds = rounds_so_far(study, StoredResults(Store(Path("nowhere")), study))
    check_adapters([one for turn in rounds for one in turn.candidates], study.infra)


def test_a_strategy_that_cannot_train_adapters_is_told_before_anything_is_launched() -> None:
    lora = "base.recipe.finetune.train.llm={lr: 1.0e-3, lora: {}}"
    for fine in ("ddp", "fsdp"):
        checked(lora, "infra.devices=2", f"infra.strategy={fine}")
    with pytest.raises(UserError, match="but llm has an adapter; choose ddp or fsdp"):
        checked(lora, "infra.devices=2", "infra.strategy=deepspeed")
    qlora = lora.replace("lora", "qlora")
    with pytest.raises(UserError, match="those of llm are in four bits under qlora; choose ddp"):
        checked(qlora, "infra.devices=2", "infra.strategy=fsdp")


def test_an_adapter_of_a_prealigned_expert_is_tried_in_each() -> None:
    targets = "{lr: 1.0e-3, lora: {targets: [fc1]}}"
    with pytest.raises(UserError, match=r"recipe.prealign.train.encoders.lora: .*'fc1' in it"):
        checked(f"base.recipe.prealign.train.encoders={targets}")


@pytest.mark.parametrize("part", ["encoders", "projector", "llm"])
@pytest.mark.parametrize("name", NAMES)
def test_what_learns_is_counted_before_it_is_built(name: str, part: str, own_home: Path) -> None:
    changes = [f"base.recipe.finetune.train.{part}={{lr: 1.0e-3, {name}: {{}}}}"]
    study = load_study("micro/smoke", changes)
    design, how = study.base, study.base.recipe.finetune
    model = cost.model_cost(design)
    spec = ModelSpec(
        [encoder_spec(title) for title in design.encoders],
        design.fusion.model_dump(),
        design.recipe.feature_norm,
        llm_spec(design.llm),
    )
    built = build_model(spec, load_weights=False, seed=0)
    before = sum(p.numel() for p in built.parameters())
    _, learning = attached(name, built.parts[part])
    count = sum(p.numel() for p in learning)
    assert adapter_cost(design, part, how.adapters[part]).trained == count  # type: ignore[arg-type]
    exact = ADAPTERS.build(name).exact  # else two weights in four bits are one number
    held = sum(p.numel() for p in built.parameters()) - before
    assert model.added(how) == (held if exact else count)
    others = sum(model.parts[one].parameters for one in how.train if one != part)
    assert model.trained(how) == others + count
    assert list(own_home.glob("remembered/adapters/*"))


def test_layers_are_chosen_by_whole_words_of_their_weights_names() -> None:
    found = stage(llm={"lr": 1e-4, "layers": "layers.1?"})
    assert found.adapters == {"llm": {"name": "layers", "match": ["layers.1?"]}}
    assert stage(llm={"lr": 1e-4, "layers": {"match": ["layers.1?"]}}) == found
    assert label(found.adapters["llm"]) == "layers layers.1?"
    part = nn.ModuleDict({"layers": nn.ModuleList(nn.Linear(1, 1) for _ in range(12))})

    def learning(*match: str) -> set[str]:
        chosen = {id(one) for one in ADAPTERS.build("layers", match=match).attach(part)}
        return {name for name, one in part.named_parameters() if id(one) in chosen}

    assert learning("layers.1") == {"layers.1.weight", "layers.1.bias"}
    assert learning("1?.bias", "layers.3") == {
        *(f"layers.{n}.bias" for n in (10, 11)),
        "layers.3.weight",
        "layers.3.bias",
    }
    assert len(learning()) == 24


@NEEDS_BITSANDBYTES
def test_qlora_holds_the_weights_in_four_bits_and_counts_what_that_saves() -> None:
    part = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 4, bias=False))
    adapter: Adapter = ADAPTERS.build("qlora", rank=2, targets=("0",))
    assert adapter.bytes_saved(part) == pytest.approx(128 * 64 * 3.48, rel=0.01)
    adapter.attach(part)
    held = part.get_submodule("0.base_layer").weight
    assert (held.dtype, held.numel()) == (torch.uint8, 128 * 64 // 2)
    study = load_study("micro/smoke", ["base.recipe.finetune.train.llm={lr: 1.0e-3, qlora: {}}"])
    model, how = cost.model_cost(study.base), study.base.recipe.stages()["finetune"]
    assert 0 < model.saved(how) < 3.5 * model.parts["llm"].parameters


def test_qlora_without_its_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match=r"qlora needs the package bitsandbytes, .* or take lora"):
        ADAPTERS.build("qlora").attach(nn.Sequential(nn.Linear(2, 2)))


def test_frozen_weights_beside_an_adapter_have_no_gradient_to_compute() -> None:
    whole = cost._passes(stage(llm=1e-4), recompute=False)
    beside = cost._passes(stage(llm={"lr": 1e-4, "lora": {}}), recompute=False)
    assert whole == {"encoders": 1, "fusion": 1, "projector": 1, "injection": 1, "llm": 3}
    assert beside == {"encoders": 1, "fusion": 1, "projector": 1, "injection": 1, "llm": 2}


def test_the_parts_are_those_of_the_model_and_of_its_cost(make_context: Make) -> None:
    without = tuple(part for part in PARTS if part != "injection")
    assert tuple(starting_model(make_context().spec, {}).parts) == without
    assert tuple(cost.model_cost(load_study("micro/smoke").base).parts) == PARTS


def test_adapters_are_listed_without_torch_and_named_as_tables_show_them() -> None:
    program = (
        "import sys; from ablate.commands.list import adapters;"
        "found = {row['adapter']: row['options'] for row in adapters()};"
        "assert 'rank=16' in found['lora'], found; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert label(LORA) == "LoRA r=4"
    assert label({"name": "dora", "rank": 8}) == "DoRA r=8"
    assert label({"name": "gone"}) == "gone"


@pytest.mark.parametrize(
    ("encoders", "said"),
    [({"lr": 1e-4, "lora": {"rank": 8}}, "LoRA r=8"), (1e-4, "yes"), (None, "no")],
)
def test_tables_of_arms_name_adapters_and_objectives(encoders: Any, said: str) -> None:
    how = stage(encoders=encoders, llm={"lr": 1e-4, "dora": {}}).model_dump()
    spec = {"stage": {**how, "objective": {"name": "length_weighted", "power": 0.5}}}
    one: Any = SimpleNamespace(last_stages=[SimpleNamespace(spec=spec)] * 2)  # of two seeds
    assert tables.VARIED["resolution"]["unfrozen"](one) == said
    named = tables.VARIED["adapter"]["adapters"](one)
    assert named == (
        "llm DoRA r=16" if said in ("yes", "no") else f"encoders {said}, llm DoRA r=16"
    )
    assert tables.VARIED["objective"]["objective"](one) == "length_weighted, power 0.5"
    plain: Any = SimpleNamespace(
        last_stages=[SimpleNamespace(spec={"stage": {"train": {"llm": 1e-4}}})]
    )
    assert tables.VARIED["adapter"]["adapters"](plain) == "none"
    assert tables.VARIED["objective"]["objective"](plain) == "sft"


@pytest.mark.slow
def test_the_documented_example_trains_from_its_entry_point_to_a_report(
    tmp_path: Path, own_home: Path
) -> None:
    example = Example("A trainable part or adapter", tmp_path / "site")
    assert "Only the biases of a part learn" in example.ablate(own_home, "list", "adapters")
    plan = example.ablate(own_home, "plan", str(example.study), *ONE_STEP)
    assert "finetune trains encoders BitFit" in plan
    done = example.ablate(own_home, "run", str(example.study), *ONE_STEP, "--backend", "inline")
    [page] = re.findall(r"report: (\S+)", done)
    [folder] = own_home.glob("store/finetune/*")
    spec = json.loads((folder / "spec.json").read_text())["spec"]
    assert spec["stage"]["adapters"] == {"encoders": {"name": "bitfit"}}
    assert spec["plugins"]["adapter bitfit"]["version"] == "1"
    pages = [path.read_text() for path in Path(page).parent.rglob("*.html")]
    assert any(re.search(r"BitFit, [\d,]+ trained", text) for text in pages)
