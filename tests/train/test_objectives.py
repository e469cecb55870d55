"""Every objective keeps what training counts on, and ours are the formulas they are named for."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from documented import ONE_STEP, Example
from hypothesis import given
from hypothesis import strategies as st
from training_toys import Make

from ablate.catalog.objectives import OBJECTIVES
from ablate.config.study import load_study
from ablate.data.batch import IGNORE_INDEX
from ablate.design.recipe import StageConfig
from ablate.errors import UserError
from ablate.preflight.objectives import try_objective
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.results import StoredResults
from ablate.store.steps import steps_for
from ablate.train.objectives import Objective
from ablate.train.stage import train

APART = "of_pairs", "of_experts"
NAMES = [
    name for name in OBJECTIVES.names() if not any(OBJECTIVES.says(name, flag) for flag in APART)
]
"""Those of single conversations; those of pairs and of experts have their own tests."""
VOCABULARY = 5
batches = st.lists(
    st.lists(st.sampled_from([IGNORE_INDEX, 0, 3, 4]), min_size=6, max_size=6),
    min_size=1,
    max_size=5,
).filter(lambda rows: any(token >= 0 for row in rows for token in row))


def built(name: str, **options: Any) -> Objective:
    objective: Objective = OBJECTIVES.build(name, **options)
    return objective


def drawn(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and targets of conversations, in double precision."""
    targets = torch.tensor(rows)
    generator = torch.Generator().manual_seed(targets.numel())
    shape = (*targets.shape, VOCABULARY)
    return torch.randn(shape, generator=generator, requires_grad=True), targets


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_an_objective_passes_the_preflight_and_is_described(name: str) -> None:
    try_objective({"name": name})
    assert len(OBJECTIVES.describe(name)) > 20


@pytest.mark.parametrize("name", NAMES)
@given(rows=batches, size=st.integers(1, 4))
def test_loss_and_gradient_do_not_depend_on_how_a_batch_is_cut(
    name: str, rows: list[list[int]], size: int
) -> None:
    objective = built(name)
    logits, targets = drawn(rows)
    learnt = (targets != IGNORE_INDEX).sum(1).numpy()
    whole = objective(logits, targets)
    [expected] = torch.autograd.grad(whole, logits)
    assert torch.isfinite(whole)
    total = torch.zeros(())
    for start in range(0, len(rows), size):
        cut = slice(start, start + size)
        share = objective.weights(learnt[cut]).sum() / objective.weights(learnt).sum()
        total = total + objective(logits[cut], targets[cut]) * float(share)
    torch.testing.assert_close(total, whole)
    [found] = torch.autograd.grad(total, logits)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_to_learn_from_is_a_loss_of_zero(name: str) -> None:
    logits, targets = drawn([[IGNORE_INDEX] * 3] * 2)
    assert built(name)(logits, targets) == 0
    assert built(name)(logits[:, :0], targets[:, :0]) == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_trains_by_it_the_same_however_its_batch_is_cut(
    make_context: Make, llm_without_dropout: None, name: str
) -> None:
    whole = make_context("whole", batch_size=6, objective={"name": name}, steps=4)
    cut = make_context(
        "cut", batch_size=6, objective={"name": name}, steps=4, infra={"micro_batch_size": 4}
    )
    for ctx in whole, cut:
        train(ctx)
    for row, expected in zip(cut.rows(), whole.rows(), strict=True):
        assert row["tokens"] == expected["tokens"]
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-3)


@given(rows=batches, power=st.floats(0, 1))
def test_length_weighted_is_the_published_sum(rows: list[list[int]], power: float) -> None:
    """InternVL 2.5, "Loss Reweighting": sum of w_i L_i over sum of w_i, w_i = x^-power."""
    logits, targets = drawn(rows)
    chances = np.exp(logits.detach().double().numpy())
    above, below = 0.0, 0.0
    for row, said in zip(rows, chances, strict=True):
        length = sum(token != IGNORE_INDEX for token in row)
        for token, chance in zip(row, said, strict=True):
            if token != IGNORE_INDEX:
                above += length**-power * -np.log(chance[token] / chance.sum())
                below += length**-power
    found = built("length_weighted", power=power)(logits, targets)
    assert found.item() == pytest.approx(above / below, rel=1e-5)


@given(rows=batches)
def test_length_weighted_without_power_is_sft(rows: list[list[int]]) -> None:
    logits, targets = drawn(rows)
    flat = built("length_weighted", power=0.0)
    torch.testing.assert_close(flat(logits, targets), built("sft")(logits, targets))


def stage(**fields: Any) -> StageConfig:
    given = {"data": "d", "steps": 1, "batch_size": 1, "train": {"llm": 1.0}, **fields}
    return StageConfig.model_validate(given)


def test_the_default_is_no_part_of_a_stage_and_another_is_with_all_its_options() -> None:
    for plain in ({}, {"objective": "sft"}, {"objective": {"name": "sft"}}):
        assert "objective" not in stage(**plain).model_dump()
    for written in ("length_weighted", {"name": "length_weighted"}):
        chosen = stage(objective=written).model_dump()["objective"]
        assert chosen == {"name": "length_weighted", "power": 0.5}
    assert stage(objective={"name": "length_weighted", "power": 1}).objective["power"] == 1.0


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("stf", "no objective 'stf'; did you mean 'sft', or another of"),
        ("{name: length_weighted, pwr: 1}", "has no option 'pwr'; did you mean 'power'?"),
        ("{name: sft, power: 1}", "objective 'sft' has no option 'power'; it takes none"),
        ("{name: length_weighted, power: much}", "is float, got 'much'"),
        ("{power: 1.0}", "its name is missing, as in {name: sft}"),
        ("3", "should be a mapping of fields, got 3"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_choice(written: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        load_study("micro/smoke", [f"base.recipe.finetune.objective={written}"])
    assert says in str(error.value)
    assert "base.recipe.finetune.objective: " in str(error.value)
    assert "\n" not in str(error.value)


def test_an_option_out_of_range_is_told_before_anything_trains() -> None:
    with pytest.raises(UserError, match="from 0 to 1, got 2"):
        try_objective({"name": "length_weighted", "power": 2.0})


def test_objectives_are_listed_without_torch() -> None:
    program = (
        "import sys; from ablate.commands.list import objectives;"
        "found = {row['objective']: row['options'] for row in objectives()};"
        "assert found['length_weighted'] == 'power=0.5', found; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_another_objective_is_another_step_by_its_name_and_options() -> None:
    def keys(*written: str) -> list[str]:
        changes = [f"base.recipe.finetune.objective={one}" for one in written]
        study = load_study("micro/smoke", changes)
        [candidate] = rounds_so_far(study, StoredResults(Store(Path("nowhere")), study))[
            0
        ].candidates
        return [step.key for step in steps_for(candidate, study)]

    plain = keys()
    assert keys("sft") == keys("{name: sft}") == plain
    weighted = keys("length_weighted")
    assert keys("{name: length_weighted, power: 0.5}") == weighted
    steeper = keys("{name: length_weighted, power: 1.0}")
    assert [a == b for a, b in zip(plain, weighted, strict=True)] == [True, True, False, False]
    assert [a == b for a, b in zip(steeper, weighted, strict=True)] == [True, True, False, False]


@pytest.mark.slow
def test_the_documented_example_trains_from_its_entry_point_to_a_report(
    tmp_path: Path, own_home: Path
) -> None:
    example = Example("objective", tmp_path / "site")
    listed = example.ablate(own_home, "list", "objectives")
    assert "focal            gamma=2.0  Cross-entropy that counts a token less" in listed
    done = example.ablate(own_home, "run", str(example.study), *ONE_STEP, "--backend", "inline")
    [page] = re.findall(r"report: (\S+)", done)
    assert Path(page).is_file()
    [folder] = own_home.glob("store/finetune/*")
    spec = json.loads((folder / "spec.json").read_text())["spec"]
    assert spec["stage"]["objective"] == {"name": "focal", "gamma": 1.0}
    assert spec["plugins"]["objective focal"]["version"] == "1"
    record = json.loads((folder / "record.json").read_text())
    assert record["versions"]["my-package"] == "1"
    pages = [path.read_text() for path in Path(page).parent.rglob("*.html")]
    assert any("objective focal" in text for text in pages)
