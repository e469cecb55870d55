"""What `ablate plan` says of a study's cost."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from in_process import ablate

from ablate.config.study import load_study
from ablate.driver.scheduler import drive
from ablate.worker.context import StepContext

CANDIDATE = {
    "visual_tokens",
    "vision_parameters",
    "vision_flops",
    "parameters",
    "trainable_parameters",
    "gpu_hours",
}


def plan(*words: str) -> str:
    """What `ablate plan` prints."""
    code, out, err = ablate("plan", *words)
    assert code == 0, err
    return out


def test_json_has_the_cost_of_every_candidate_and_step() -> None:
    found = json.loads(plan("eagle/rounds", "--round", "5", "--json"))
    for one in found["candidates"]:
        assert one.keys() > CANDIDATE
        assert one["visual_tokens"] == 1024
        assert one["trainable_parameters"] <= one["parameters"]
        hours = {step["key"]: step["gpu_hours"] for step in found["steps"]}
        assert one["gpu_hours"] == pytest.approx(sum(hours[key] for key in one["steps"]))
    for step in found["steps"]:
        assert min(step["gpu_hours"], step["flops"], step["gpu_memory_gib"]) > 0
    base = found["candidates"][0]
    assert base["vision_parameters"] == pytest.approx(1155.2e6, rel=0.01)  # as published
    assert base["parameters"] - base["vision_parameters"] > 6.7e9
    totals = found["totals"]
    assert totals["gpu"] == "a100"
    assert totals["gpu_hours"] == pytest.approx(sum(step["gpu_hours"] for step in found["steps"]))
    assert totals["gpu_hours"] == totals["gpu_hours_to_do"]
    assert totals["money"] is None


def test_json_has_the_cost_of_a_micro_study_too() -> None:
    found = json.loads(plan("micro/smoke", "--json"))
    assert all(one.keys() > CANDIDATE for one in found["candidates"])
    assert found["totals"]["gpu_hours"] > 0


def test_the_first_of_a_home_which_counts_operations_ends_without_a_word(tmp_path: Path) -> None:
    """As a process: libraries may have something to say when it ends."""
    line = [sys.executable, "-m", "ablate", "plan", "micro/smoke", "--json"]
    env = {**os.environ, "ABLATE_HOME": str(tmp_path)}
    done = subprocess.run(line, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_study_on_gpus_is_shown_with_its_cost_and_another_without() -> None:
    text = plan("eagle/prealign")
    assert {"TOKENS", "TRAINED", "GPU-HOURS", "GIB"} <= set(text.split())
    assert "An estimate: " in text
    assert "money" not in text
    assert "GPU-HOURS" not in plan("micro/smoke")
    assert "On h200 GPUs: " in plan("micro/smoke", "--gpu", "h200")


def test_what_sharing_saves_is_what_training_from_scratch_would_repeat() -> None:
    found = json.loads(plan("eagle/prealign", "--json"))
    repeated = sum(step["gpu_hours"] * (len(step["used_by"]) - 1) for step in found["steps"])
    totals = found["totals"]
    saved = totals["gpu_hours_from_scratch"] - totals["gpu_hours"]
    assert saved == pytest.approx(repeated)
    assert saved > 0
    assert f"sharing steps saves {saved:,.0f}." in plan("eagle/prealign")


def test_where_sharing_saves_nothing_the_plan_says_why_and_what_does() -> None:
    """A search without pre-alignment: each mixture trains a projector of its own."""
    text = plan("eagle/rounds", "--round", "5")
    assert "sharing steps saves 0. No two candidates have a step in common: " in text
    assert "What saves is to train fewer of them." in text
    shared = plan("eagle/prealign")
    assert "in common" not in shared
    kinds = json.loads(plan("eagle/prealign", "--json"))["totals"]["gpu_hours_by_kind"]
    assert sorted(kinds) == ["evaluate", "finetune", "prealign", "pretrain"]
    assert f"prealign {kinds['prealign']:,.0f}" in shared


def test_the_plan_tells_the_hours_of_each_strategy_with_and_without_sharing() -> None:
    totals = json.loads(plan("eagle/rounds", "--json"))["totals"]
    own = totals["strategies"][0]
    assert (own["strategy"], own["candidates"]) == ("rounds", 11)
    assert own["gpu_hours"] == totals["gpu_hours"]
    others = {one["strategy"]: one for one in totals["strategies"]}
    assert others["exhaustive"]["candidates"] == 2**4
    assert others["exhaustive"]["gpu_hours"] > own["gpu_hours"]
    lines = [line.split() for line in plan("eagle/rounds").splitlines()]
    assert ["rounds", "11", f"{own['gpu_hours']:,.0f}", f"{own['gpu_hours']:,.0f}"] in lines
    micro = json.loads(plan("micro/rounds", "--json"))["totals"]["strategies"]
    for one in micro:  # each expert is pre-aligned once
        assert 0 < one["gpu_hours"] < one["gpu_hours_from_scratch"]
    assert {one["strategy"]: one["candidates"] for one in micro}["exhaustive"] == 2**5


def test_of_arms_no_other_strategy_is_told() -> None:
    found = json.loads(plan("eagle/prealign", "--json"))["totals"]["strategies"]
    assert [one["strategy"] for one in found] == ["arms"]
    assert "STRATEGY" not in plan("eagle/prealign")


def test_the_plan_says_where_mini_gemini_has_nothing_to_choose() -> None:
    found = json.loads(plan("micro/fusion", "--json"))
    noted = {one["name"] for one in found["candidates"] if one["notes"]}
    assert noted == {"Mini-Gemini", "Mini-Gemini of three"}
    text = plan("eagle/fusion")
    assert "Note on Mini-Gemini: Each token's window is one key" in text
    assert "query and key (4,204,544 parameters) get no gradient" in text
    assert text.count("Note on") == 2


def test_a_price_makes_money_of_the_hours() -> None:
    words = ("eagle/rounds", "--round", "1", "--gpu", "h100", "--price", "2.5")
    totals = json.loads(plan(*words, "--json"))["totals"]
    assert totals["money"] == pytest.approx(2.5 * totals["gpu_hours"])
    assert f"At 2.50 a GPU-hour: {totals['money']:,.0f} in all" in plan(*words)


def test_what_is_done_is_no_longer_to_do(own_home: Path) -> None:
    before = json.loads(plan("micro/smoke", "--json"))

    def only_align(context: StepContext) -> dict[str, Any]:
        if context.step_kind != "prealign":
            raise ValueError("no luck")
        return {}

    executors = dict.fromkeys(("prealign", "pretrain", "finetune", "evaluate"), only_align)
    drive(load_study("micro/smoke"), None, "inline", home=own_home, executors=executors)
    after = json.loads(plan("micro/smoke", "--json"))
    spent = sum(step["gpu_hours"] for step in after["steps"] if step["cached"])
    assert spent > 0
    assert after["totals"]["gpu_hours"] == before["totals"]["gpu_hours"]
    left = after["totals"]["gpu_hours_to_do"]
    assert left == pytest.approx(before["totals"]["gpu_hours_to_do"] - spent)


@pytest.mark.parametrize(
    ("study", "sets", "change"),
    [
        ("rounds", "infra.micro_batch_size=null", "set infra.micro_batch_size to "),
        ("rounds", "base.llm=vicuna-7b", "set infra.strategy to fsdp and infra.devices to 2"),
        ("rounds", "base.llm=yi-34b", "set infra.strategy to fsdp and infra.devices to 8"),
        ("released", "infra.gradient_checkpointing=false", "set infra.gradient_checkpointing to"),
    ],
)
def test_a_step_too_large_for_the_gpu_says_what_to_change(
    study: str, sets: str, change: str
) -> None:
    fits = (f"eagle/proxy/{study}", "--round", "1", "--gpu", "h100")
    assert "more than" not in plan(*fits)
    assert f"more than the 79 GiB of one h100: {change}" in plan(*fits, "--set", sets)


def test_to_do_as_told_makes_it_fit() -> None:
    def of(micro_batch: str) -> str:
        fields = ("--set", f"infra.micro_batch_size={micro_batch}")
        return plan("eagle/proxy/rounds", "--round", "1", "--gpu", "h100", *fields)

    lines = of("null").splitlines()
    told = [line.split("set infra.micro_batch_size to ")[1:] for line in lines]
    fitting = min(int(one[0]) for one in told if one)
    assert "more than" not in of(str(fitting))
    assert "more than" in of(str(fitting + 1))


def test_the_plan_shows_parameters_and_gflops_of_each_published_mixture_beside_ours() -> None:
    text = plan("eagle/rounds")
    assert "X5: 2,282.8 M, 6,617.4 GFLOPs; here 2,271.4 M, 6,596.4 GFLOPs" in text
    rows = [one["published"] for one in json.loads(plan("eagle/rounds", "--json"))["candidates"]]
    assert len({row["row"] for row in rows}) == 11
    for row in rows:
        assert row["vision_parameters"] / 1e6 == pytest.approx(
            row["published_vision_parameters"], rel=0.01
        )
        assert row["multiply_adds"] / 1e9 == pytest.approx(
            row["published_multiply_adds"], rel=0.005
        )
    assert "Vision encoders as published" not in plan("eagle/prealign")


def test_images_without_room_for_text_are_an_error_of_plan_and_run() -> None:
    short = ("--set", "explore.arms.6.set={fusion.name: sequence_append}")
    for words in (("plan", "eagle/fusion", *short), ("run", "eagle/fusion", *short)):
        said = ablate(*words).err
        assert "Sequence Append, with SAM: sequence_append of 2 encoders makes 2048 tokens" in said
        assert said.count("\n") == 1
