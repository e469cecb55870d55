"""What a training step leaves behind, and what it refuses."""

import json
import math
import re
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from PIL import Image
from torch import nn
from training_toys import Context, Make, assert_same, own_data, weights
from transformers.models.llama.modeling_llama import LlamaMLP

from ablate.errors import UserError
from ablate.model.mllm import Mllm
from ablate.train import callbacks
from ablate.train import module as module_file
from ablate.train.objectives.sft import Sft
from ablate.train.restore import load_trained, starting_model
from ablate.train.stage import train


def changed_parts(ctx: Context) -> set[str]:
    """The parts whose stored weights are not those the step started from."""
    start = starting_model(ctx.spec, ctx.parents)
    end = load_trained(ctx.commit())
    return {
        part
        for part in start.parts
        if not all(
            torch.equal(a, b)
            for a, b in zip(
                start.parts[part].parameters(), end.parts[part].parameters(), strict=True
            )
        )
    }


def test_finetuning_learns_and_leaves_every_part(make_context: Make) -> None:
    ctx = make_context(steps=30, train={"projector": 5e-3, "llm": 5e-3, "encoders": 1e-3})
    result = train(ctx)
    rows = ctx.rows()
    assert [row["step"] for row in rows] == list(range(1, 31))
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    assert rows[0].keys() == {"step", "loss", "grad_norm", "tokens", "lr"}
    assert result["steps"] == 30
    assert result["loss"] == rows[-1]["loss"]
    assert {path.name for path in ctx.work.iterdir()} == {
        "encoder-clip-micro_32.safetensors",
        "fusion.safetensors",
        "llm.safetensors",
        "metrics.jsonl",
        "parameters.json",
        "projector.safetensors",
    }
    assert changed_parts(ctx) == {"encoders", "projector", "llm"}


@pytest.mark.parametrize(
    ("kind", "learning", "stored"),
    [
        ("prealign", {"projector": 1e-3}, {"encoder-clip-micro_32", "fusion", "projector"}),
        ("pretrain", {"projector": 1e-3}, {"fusion", "projector"}),
        (
            "pretrain",
            {"projector": 1e-3, "encoders": 1e-3},
            {"encoder-clip-micro_32", "fusion", "projector"},
        ),
        ("pretrain", {"llm": 1e-3}, {"llm", "fusion", "projector"}),
    ],
)
def test_what_learns_is_what_the_recipe_names_and_what_changed_is_stored(
    make_context: Make, kind: str, learning: dict[str, float], stored: set[str]
) -> None:
    ctx = make_context(kind=kind, train=learning, steps=2)
    train(ctx)
    assert {path.stem for path in ctx.work.glob("*.safetensors")} == stored
    assert changed_parts(ctx) == set(learning)


def test_the_table_of_parameters_is_stored_and_shown(
    make_context: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    ctx = make_context(steps=2, warm_projector=1)
    result = train(ctx)
    table = {row["part"]: row for row in json.loads((ctx.work / "parameters.json").read_text())}
    assert table["encoder-clip-micro_32"]["trainable"] == 0
    assert table["llm"]["trainable"] == table["llm"]["parameters"] > 0
    assert result["visual_tokens"] == math.prod(ctx.spec["model"]["fusion"]["grid"])
    assert result["vision_flops"] > 10**6
    assert result["trainable"] == table["llm"]["trainable"] + table["projector"]["trainable"]
    assert capsys.readouterr().err.count("frozen") == 2  # the encoder, and a fusion without weights


def test_the_log_tells_step_loss_rates_pace_and_the_time_left(
    make_context: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "LINES", 2)
    ctx = make_context(steps=6, train={"projector": 1e-3, "llm": 5e-4})
    train(ctx)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    rows = [json.loads(line) for line in ctx.journal.read_text().splitlines()]
    told = re.compile(
        r"step (\d+) of 6  loss ([\d.]+)  rate projector ([\de.+-]+), llm ([\de.+-]+)"
        r"  [\d.,]+/(?:s|min|h) samples  .+ left"
    )
    found = [told.fullmatch(line) for line in lines]
    assert [one and int(one[1]) for one in found] == [1, 3, 6]
    for one in found:
        assert one
        row = rows[int(one[1]) - 1]
        assert float(one[2]) == pytest.approx(row["loss"], abs=1e-4)
        assert float(one[3]) == pytest.approx(row["lr"]["projector"], rel=1e-2)


def test_stages_follow_one_another_through_their_parents(make_context: Make) -> None:
    title = "clip-micro@32"
    both: dict[str, Any] = {"train": {"projector": 1e-3, "encoders": 1e-3}, "steps": 2}
    aligned = make_context("a", "prealign", **both)
    train(aligned)
    parents = {f"prealign:{title}": aligned.commit()}
    pairs = {"world": "pairs", "images": 12, "seed": 1}
    pretrain = make_context(
        "b", "pretrain", parents=parents, data=pairs, train={"projector": 1e-3}, steps=2
    )
    train(pretrain)
    encoder = f"encoder-{title.replace('@', '_')}.safetensors"
    assert (pretrain.work / encoder).read_bytes() == (aligned.work / encoder).read_bytes()

    finetune = make_context("c", parents={"pretrain": pretrain.commit()})
    start = starting_model(finetune.spec, finetune.parents)
    assert_same(
        dict(start.projector.state_dict()), dict(load_trained(pretrain.work).projector.state_dict())
    )
    train(finetune)
    assert (finetune.work / encoder).read_bytes() == (aligned.work / encoder).read_bytes()


def test_a_warm_projector_learns_alone_first(make_context: Make) -> None:
    ctx = make_context(steps=3, warm_projector=3)
    train(ctx)
    assert changed_parts(ctx) == {"projector"}
    ctx = make_context("later", steps=4, warm_projector=3)
    train(ctx)
    assert changed_parts(ctx) == {"projector", "llm"}


def test_frozen_parts_work_as_in_inference_and_learning_ones_do_not(
    make_context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool, bool]] = []
    forward = Mllm.forward

    def spied(model: Mllm, *given: Any, **more: Any) -> Any:
        modules: list[nn.Module] = [model.parts[part] for part in ("encoders", "projector", "llm")]
        seen.append(tuple(module.training for module in modules))  # type: ignore[arg-type]
        return forward(model, *given, **more)

    monkeypatch.setattr(Mllm, "forward", spied)
    train(make_context(steps=2, warm_projector=1))
    assert seen == [(False, True, False), (False, True, True)]


def test_accumulation_equals_the_whole_batch(make_context: Make, llm_without_dropout: None) -> None:
    whole = make_context("whole", batch_size=6)
    parts = make_context("parts", batch_size=6, infra={"micro_batch_size": 4})
    single = make_context("single", batch_size=6, infra={"micro_batch_size": 1})
    for ctx in whole, parts, single:
        train(ctx)
    for ctx in parts, single:
        for row, expected in zip(ctx.rows(), whole.rows(), strict=True):
            assert row["tokens"] == expected["tokens"]
            assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
            assert row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-3)


def test_epochs_set_the_number_of_steps(make_context: Make) -> None:
    ctx = make_context(steps=None, epochs=2.0, batch_size=5)
    assert train(ctx)["steps"] == 4  # 2 x 12 conversations in full batches of 5


def test_another_seed_means_another_order_and_start(make_context: Make) -> None:
    one, two, same = make_context("1"), make_context("2", seed=4), make_context("3")
    for ctx in one, two, same:
        train(ctx)
    assert one.rows()[0] != two.rows()[0]
    assert one.rows() == same.rows()
    assert_same(weights(one.work), weights(same.work))


def test_data_workers_change_nothing(make_context: Make) -> None:
    alone, helped = make_context("alone"), make_context("helped", infra={"num_workers": 1})
    train(alone)
    train(helped)
    assert alone.rows() == helped.rows()


def test_recomputed_activations_change_nothing(
    make_context: Make, llm_without_dropout: None
) -> None:
    kept, again = (
        make_context("kept"),
        make_context("again", infra={"gradient_checkpointing": True}),
    )
    for ctx in kept, again:
        ctx.spec["stage"]["train"] = {"projector": 1e-3, "llm": 1e-3, "encoders": 1e-3}
        train(ctx)
    losses = [[row["loss"] for row in ctx.rows()] for ctx in (kept, again)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_frozen_language_model_recomputes_its_activations_too(
    make_context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, passes = LlamaMLP.forward, []

    def counted(layer: LlamaMLP, hidden: torch.Tensor) -> torch.Tensor:
        passes.append(layer.training)
        return forward(layer, hidden)

    monkeypatch.setattr(LlamaMLP, "forward", counted)
    infra = {"gradient_checkpointing": True}
    train(make_context(steps=1, train={"projector": 1e-3}, infra=infra))
    assert passes == [False] * 4  # two layers, each once forward and once more


@pytest.mark.parametrize(("value", "what"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_a_loss_that_is_not_finite_stops_before_any_weight_takes_it_up(
    make_context: Make, monkeypatch: pytest.MonkeyPatch, value: float, what: str
) -> None:
    loss = Sft.__call__
    calls = 0

    def spoilt(objective: Sft, logits: Any, targets: Any) -> Any:
        nonlocal calls
        calls += 1
        return loss(objective, logits, targets) * (value if calls == 3 else 1.0)

    monkeypatch.setattr(Sft, "__call__", spoilt)
    ctx = make_context(infra={"checkpoint_every_steps": 1})
    with pytest.raises(
        UserError, match=rf"the loss is {what} at step 3 of 6 \(last loss: 4\.\d+ at"
    ):
        train(ctx)
    assert [row["step"] for row in ctx.rows()] == [1, 2]
    assert module_file.checkpoint.step_of(ctx.work / "checkpoint") == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_found_in_training_is_one_clear_line(
    make_context: Make, tmp_path: Path, workers: int
) -> None:
    source = own_data(tmp_path, broken=(1,))
    ctx = make_context(data=source, infra={"num_workers": workers})
    with pytest.raises(UserError, match=r"1\.png cannot be read as an image") as error:
        train(ctx)
    assert str(error.value).startswith(f"{tmp_path / 'own.json'}, row 2 (id '1.png'): ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.usefixtures("llm_without_dropout")
def test_broken_images_within_the_budget_are_counted_once_and_others_stand_in(
    make_context: Make, tmp_path: Path, workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    source = own_data(tmp_path, broken=(1, 4), max_bad=2)
    ctx = make_context(data=source, steps=6, infra={"num_workers": workers, "micro_batch_size": 2})
    found = train(ctx)["bad_rows"]["own"]
    assert found["count"] == capsys.readouterr().err.count("passed over: ") == 2
    assert sorted(reason[len(str(tmp_path)) :][:16] for reason in found["first"]) == [
        "/own.json, row 2",
        "/own.json, row 5",
    ]
    whole = make_context("whole", data=source, steps=6)
    train(whole)  # cut into other parts, the steps are the same
    pairs = zip(ctx.rows(), whole.rows(), strict=True)
    assert all(a["loss"] == pytest.approx(b["loss"], rel=1e-4) for a, b in pairs)
    assert train(make_context("world", steps=1))["bad_rows"] == {}


def test_one_broken_image_too_many_stops_at_the_same_step_also_when_resumed(
    make_context: Make, tmp_path: Path
) -> None:
    source = own_data(tmp_path, broken=(1, 2, 4), max_bad=2)
    infra = {"checkpoint_every_steps": 1}
    ctx = make_context(data=source, batch_size=1, steps=9, infra=infra)
    for _ in range(2):
        with pytest.raises(UserError, match="own: 3 bad rows, but max_bad allows 2; the first: "):
            train(ctx)
    done = len(ctx.rows())
    other = make_context("other", data=source, batch_size=1, steps=9)
    with pytest.raises(UserError, match="3 bad rows"):
        train(other)
    assert len(other.rows()) == done


def test_data_that_changed_since_it_was_planned_is_refused(
    make_context: Make, tmp_path: Path
) -> None:
    ctx = make_context(data=own_data(tmp_path, broken=()))
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "photos" / "3.png")
    with pytest.raises(UserError, match="the data has changed since the study was planned"):
        train(ctx)


def test_a_step_planned_without_its_data_is_refused(make_context: Make, tmp_path: Path) -> None:
    absent = {"conversations": str(tmp_path / "gone.json"), "rows": 8}
    with pytest.raises(UserError, match=r"data is missing: gone \(8 rows\): nothing at .*gone"):
        train(make_context(data=absent))


def test_sources_of_every_format_train_together(make_context: Make, tmp_path: Path) -> None:
    pictured = own_data(tmp_path, broken=())
    rows = json.loads((tmp_path / "own.json").read_text())
    for row in rows:
        row["image"] = {"bytes": (tmp_path / "photos" / row["image"]).read_bytes(), "path": None}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "embedded.parquet")
    turns = [{"from": "human", "value": "how many"}, {"from": "gpt", "value": "3"}]
    Dataset.from_list([{"conversations": turns}] * 5).save_to_disk(str(tmp_path / "text"))
    mix = {
        "pictured": pictured,
        "embedded": {"conversations": str(tmp_path / "embedded.parquet"), "weight": 0.5},
        "text": {"conversations": str(tmp_path / "text"), "weight": 2},
    }
    infra = {"num_workers": 2, "micro_batch_size": 2}
    source = {"mix": mix, "canvas": 32}
    ctx = make_context(
        data=source, steps=None, epochs=2, batch_size=3, group_by_length=True, infra=infra
    )
    assert train(ctx)["steps"] == 2 * (6 + 3 + 10) // 3


def test_grouping_by_length_trains_on_the_same_samples_in_another_order(
    make_context: Make,
) -> None:
    plain, grouped = make_context("plain"), make_context("grouped", group_by_length=True)
    train(plain)
    train(grouped)
    assert [row["loss"] for row in plain.rows()] != [row["loss"] for row in grouped.rows()]
    assert sum(row["tokens"] for row in plain.rows()[:3]) == sum(
        row["tokens"] for row in grouped.rows()[:3]
    )  # 12 samples in batches of 4: three steps are an epoch


def test_a_conversation_too_long_is_refused_before_training(make_context: Make) -> None:
    ctx = make_context(max_length=20)
    message = r"conversations\.jsonl:\d+ \(id .000000.\): \d+ tokens.* only 20 fit"
    with pytest.raises(UserError, match=message):
        train(ctx)
    assert not ctx.journal.exists()


def test_a_stage_in_which_nothing_can_learn_is_refused(make_context: Make) -> None:
    with pytest.raises(UserError, match="nothing learns: no parameters in fusion"):
        train(make_context(train={"fusion": 1e-3}))  # channel concatenation has none


def test_ctrl_c_stays_an_interrupt_and_the_next_one_works_too(
    make_context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = make_context()
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def pressed(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ctx, "log", pressed)
    with pytest.raises(KeyboardInterrupt):
        train(ctx)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_sigterm_stays_with_whoever_runs_the_step(
    make_context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    monkeypatch.setattr(signal, "getsignal", signal.getsignal)
    outer = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        ctx = make_context()
        log = ctx.log

        def terminated(metrics: dict[str, Any]) -> None:
            signal.raise_signal(signal.SIGTERM)
            log(metrics)

        monkeypatch.setattr(ctx, "log", terminated)
        train(ctx)  # as after submitit's "bypass": it goes on until it is killed or done
    finally:
        signal.signal(signal.SIGTERM, outer)
    assert heard == [signal.SIGTERM] * 6
    assert len(ctx.rows()) == 6
