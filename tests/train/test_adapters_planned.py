"""What a study says of adapters, what they cost, and how they are listed and shown."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from adapter_toys import LORA, NAMES, NEEDS_BITSANDBYTES, attached
from documented import ONE_STEP, Example
from torch import nn
from training_toys import Make

from ablate.adapters import Adapter
from ablate.catalog.adapters import ADAPTERS, label
from ablate.catalog.model_spec import ModelSpec
from ablate.catalog.parts import PARTS
from ablate.config.study import load_study
from ablate.cost import estimate as cost
from ablate.cost import memory as memory_model
from ablate.cost.adapters import adapter_cost, check_adapters
from ablate.design import encoder_spec, llm_spec
from ablate.design.recipe import StageConfig
from ablate.errors import UserError
from ablate.model.mllm import build_model
from ablate.reports import tables
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.results import StoredResults
from ablate.train.restore import starting_model


def stage(**train: Any) -> StageConfig:
    return StageConfig.model_validate({"data": "d", "steps": 1, "batch_size": 1, "train": train})


def test_what_peft_imports_does_not_speak_into_a_plan() -> None:
    assert not logging.getLogger("bitsandbytes.backends.cpu.ops").isEnabledFor(logging.WARNING)


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
        (
            "lmm",
            "{lr: 1.0e-3, lora: {}}",
            "'lmm' is no valid value; did you mean 'llm', or another of",
        ),
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
    whole = memory_model.passes(stage(llm=1e-4))
    beside = memory_model.passes(stage(llm={"lr": 1e-4, "lora": {}}))
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
    example = Example("adapter", tmp_path / "site")
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
