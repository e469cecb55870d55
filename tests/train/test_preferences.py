"""Learning from pairs of answers: the data, the loss, and a stage that is trained by it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training_toys import Make, assert_same, train_apart, weights

from ablate.bake.tokenizer import build_tokenizer
from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.data_sources import parse
from ablate.catalog.objectives import OBJECTIVES
from ablate.config.study import load_study
from ablate.cost import estimate as cost
from ablate.cost.adapters import check_adapters
from ablate.data.batch import BETWEEN_ANSWERS, IGNORE_INDEX, IMAGE_TOKEN_ID
from ablate.data.chat import Chat
from ablate.data.collate import MicroBatches
from ablate.data.dataset import Conversations
from ablate.data.sampler import Order
from ablate.data.tiles import Tiles
from ablate.errors import UserError
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.results import StoredResults
from ablate.train.objectives import Objective
from ablate.train.restore import load_trained, starting_model
from ablate.train.stage import train

BY_PAIRS = ("base.recipe.finetune.objective=dpo", "data.conversations.world=preferences")
PREFERENCES = {"world": "preferences", "images": 12, "seed": 1}
DPO: dict[str, Any] = {"data": PREFERENCES, "objective": {"name": "dpo", "beta": 0.5}}
pairs = st.lists(
    st.lists(st.sampled_from([IGNORE_INDEX, 0, 3, 4]), min_size=6, max_size=6),
    min_size=2,
    max_size=8,
).filter(lambda rows: any(token >= 0 for row in rows for token in row) and not len(rows) % 2)


def dpo(beta: float = 0.1) -> Objective:
    objective: Objective = OBJECTIVES.build("dpo", beta=beta)
    return objective


def drawn(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, targets, and the logits of before, in double precision."""
    targets = torch.tensor(rows)
    generator = torch.Generator().manual_seed(targets.numel())
    shape = (*targets.shape, 5)
    logits, before = torch.randn((2, *shape), generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), targets, before


@given(rows=pairs, beta=st.floats(0.01, 2))
def test_dpo_is_the_published_loss(rows: list[list[int]], beta: float) -> None:
    """Rafailov et al. 2023, equation 7, a pair and a token at a time."""
    logits, targets, before = drawn(rows)
    chances, chances_before = np.exp(logits.detach().numpy()), np.exp(before.numpy())

    def said(row: int, given: Any) -> float:
        found = 0.0
        for place, token in enumerate(rows[row]):
            if token != IGNORE_INDEX:
                found += np.log(given[row, place, token] / given[row, place].sum())
        return found

    losses = []
    for better in range(0, len(rows), 2):
        if all(token == IGNORE_INDEX for row in rows[better : better + 2] for token in row):
            continue
        gains = [said(row, chances) - said(row, chances_before) for row in (better, better + 1)]
        losses.append(np.log1p(np.exp(-beta * (gains[0] - gains[1]))))
    found = dpo(beta)(logits, targets, before)
    assert found.item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert dpo(beta)(before, targets, before).item() == pytest.approx(np.log(2))


@given(rows=pairs, size=st.integers(1, 3))
def test_loss_and_gradient_do_not_depend_on_how_a_batch_is_cut(
    rows: list[list[int]], size: int
) -> None:
    logits, targets, before = drawn(rows)
    learnt = (targets != IGNORE_INDEX).sum(1).unflatten(0, (-1, 2)).sum(1).numpy()
    whole = dpo()(logits, targets, before)
    [expected] = torch.autograd.grad(whole, logits)
    total = torch.zeros(())
    for start in range(0, len(learnt), size):
        share = dpo().weights(learnt[start : start + size]).sum() / dpo().weights(learnt).sum()
        cut = slice(2 * start, 2 * (start + size))
        total = total + dpo()(logits[cut], targets[cut], before[cut]) * float(share)
    torch.testing.assert_close(total, whole, check_dtype=False)
    [found] = torch.autograd.grad(total, logits)
    torch.testing.assert_close(found, expected)


def conversations(folder: Path, *rows: dict[str, Any], **limits: Any) -> Conversations:
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    source = parse({"conversations": path, **limits})
    chat = Chat(build_tokenizer(), pairs=True)
    return Conversations(
        source, fingerprint(source), chat, folder / "data", max_length=64, tiles=Tiles.whole(4)
    )


def row(answer: str, **more: Any) -> dict[str, Any]:
    said = [{"from": "human", "value": "what is it"}, {"from": "gpt", "value": answer}]
    return {"conversations": said, **more}


def test_a_pair_is_two_rows_of_a_batch_and_never_cut_apart(tmp_path: Path) -> None:
    texts = [("a red circle", "yes"), ("no", "a blue square"), ("two", "three")]
    data = conversations(tmp_path, *(row(a, rejected=b) for a, b in texts))
    longest = max(len(half) for n in range(3) for half in _halves(data[n].ids))
    assert int(data.lengths.max()) == longest
    batches = MicroBatches(data, Order(3, 3, 0), 2, weigh=dpo().weights)
    seen = [batches[n] for n in range(batches.parts)]
    assert [len(one.batch.input_ids) for one in seen] == [4, 2]
    assert sum(one.share for one in seen) == pytest.approx(1)
    decode = build_tokenizer().decode
    found = [
        decode(ids[labels != IGNORE_INDEX], skip_special_tokens=True).strip()
        for one in seen
        for ids, labels in zip(one.batch.input_ids, one.batch.labels, strict=True)
    ]
    assert sorted(zip(found[::2], found[1::2], strict=True)) == sorted(texts)
    assert not any((one.batch.input_ids == BETWEEN_ANSWERS).any() for one in seen)


def _halves(ids: Any) -> list[Any]:
    [cut] = np.flatnonzero(ids == BETWEEN_ANSWERS)
    return [ids[:cut], ids[cut + 1 :]]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (row("yes"), "no 'rejected', the worse answer that a pair needs"),
        (row("yes", rejected=" yes"), "'rejected' is the answer itself"),
        (row("yes", rejected=3), "'rejected' must be a text, not int"),
    ],
)
def test_a_row_without_a_worse_answer_is_a_bad_one(
    tmp_path: Path, bad: dict[str, Any], said: str
) -> None:
    good = row("yes", rejected="no")
    with pytest.raises(UserError, match=rf"rows.jsonl:2: {said}"):
        conversations(tmp_path, good, bad)
    assert len(conversations(tmp_path, good, bad, max_bad=1)) == 1


def test_the_world_s_preferences_are_a_right_and_a_wrong_answer(make_context: Make) -> None:
    ctx = make_context(**DPO, steps=1)
    train(ctx)
    [file] = (ctx.home / "data").glob("preferences-*/conversations.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == 12
    for one in rows:
        assert len(one["conversations"]) == 2
        assert one["rejected"]
        assert one["rejected"] != one["conversations"][1]["value"]


@pytest.mark.usefixtures("llm_without_dropout")
def test_a_stage_moves_away_from_the_model_before_it_however_its_batch_is_cut(
    make_context: Make,
) -> None:
    rate = {"train": {"llm": 5e-3}, "batch_size": 6, "steps": 8, "warmup": 0.0}
    whole = make_context("whole", **DPO, **rate)
    cut = make_context("cut", **DPO, **rate, infra={"micro_batch_size": 4})
    for ctx in whole, cut:
        train(ctx)
    for found, expected in zip(cut.rows(), whole.rows(), strict=True):
        assert found["tokens"] == expected["tokens"]
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    losses = [one["loss"] for one in whole.rows()]
    assert losses[0] == pytest.approx(np.log(2), rel=1e-5)
    assert losses[-1] < losses[0] - 0.05
    trained = load_trained(whole.commit()).state_dict()
    before = starting_model(whole.spec, {}).state_dict()
    changed = {name for name in trained if not torch.equal(trained[name], before[name])}
    assert changed
    assert all(name.startswith("llm.") for name in changed)


def test_killed_and_resumed_it_ends_with_the_same_bits(make_context: Make) -> None:
    how = {**DPO, "infra": {"checkpoint_every_steps": 2, "micro_batch_size": 2}}
    calm = make_context("calm", **how)
    train(calm)
    stopped = make_context("stopped", **how)
    assert train_apart(stopped, 5) != 0
    train(stopped)
    assert stopped.journal.read_bytes() == calm.journal.read_bytes()
    assert_same(weights(stopped.work), weights(calm.work))


def test_single_conversations_learn_the_better_answer(make_context: Make) -> None:
    ctx = make_context(data=PREFERENCES, steps=1)
    train(ctx)
    assert ctx.rows()[-1]["tokens"] > 0


def test_a_strategy_that_shares_out_weights_is_refused_before_anything_is_launched() -> None:
    changes = [*BY_PAIRS, "infra.devices=2"]
    for strategy in ("fsdp", "deepspeed"):
        study = load_study("micro/smoke", [*changes, f"infra.strategy={strategy}"])
        rounds = rounds_so_far(study, StoredResults(Store(Path("nowhere")), study))
        candidates = [one for turn in rounds for one in turn.candidates]
        with pytest.raises(UserError, match="objective 'dpo' holds those of before the stage"):
            check_adapters(candidates, study.infra)


def test_a_plan_counts_two_conversations_a_pair_and_the_model_before_the_stage() -> None:
    def finetuning(*changes: str) -> Any:
        study = load_study("micro/smoke", changes)
        rounds = rounds_so_far(study, StoredResults(Store(Path("nowhere")), study))
        from ablate.store.steps import steps_for

        candidate = rounds[0].candidates[0]
        [step] = [one for one in steps_for(candidate, study) if one.kind == "finetune"]
        return cost.step_cost(study, candidate, step, cost.GPUS["a100"])

    plain, paired = finetuning(), finetuning(*BY_PAIRS)
    assert 2 * plain.flops < paired.flops < 4 * plain.flops
    assert paired.memory > plain.memory


def test_pairs_hold_an_image_in_both_rows(make_context: Make) -> None:
    ctx = make_context(**DPO)
    source = parse(PREFERENCES)
    chat = Chat(build_tokenizer(), pairs=True)
    data = Conversations(
        source, fingerprint(source), chat, ctx.home / "data", max_length=512, tiles=Tiles.whole(4)
    )
    batch = MicroBatches(data, Order(len(data), 2, 0), 2, weigh=dpo().weights)[0].batch
    assert batch.image_rows.tolist() == [0, 1, 2, 3]
    assert torch.equal(batch.pixels[0], batch.pixels[1])
    assert ((batch.input_ids == IMAGE_TOKEN_ID).sum(1) == 1).all()
