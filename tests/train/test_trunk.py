"""A stage goes on from what a smaller share of it has done, to the same bits as without."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rank_toys import Job
from test_resume import Signal
from training_toys import Context, Make, assert_same, own_data, train_apart, weights

from ablate.train.stage import train

LONG: dict[str, Any] = {
    "steps": 20,
    "batch_size": 5,  # of 12 samples: branch points fall in the middle of epochs
    "train": {"projector": 2e-3, "llm": 1e-3, "encoders": 1e-3},
    "warm_projector": 3,
    "schedule": "wsd",
    "decay": 0.2,
}


def trunks(ctx: Context) -> list[int]:
    return sorted(int(path.name) for path in ctx.prefix.glob("*") if path.name.isdecimal())


def alone(ctx: Context, folder: Path) -> Context:
    """The same step in a home where nothing of it has been done."""
    (folder / "work").mkdir(parents=True)
    return Context(ctx.step_kind, ctx.spec, folder / "work", folder, infra=ctx.infra)


def assert_alike(one: Context, other: Context) -> None:
    assert one.rows() == other.rows()
    assert_same(weights(one.work), weights(other.work))
    names = [sorted(path.name for path in ctx.work.iterdir()) for ctx in (one, other)]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("schedule", "grouped"),
    [
        ("wsd", False),
        ("constant", True),
        pytest.param("wsd", True, marks=pytest.mark.slow),
        pytest.param("constant", False, marks=pytest.mark.slow),
    ],
)
def test_every_larger_share_begins_where_the_last_branched_and_ends_as_if_alone(
    make_context: Make, tmp_path: Path, schedule: str, grouped: bool
) -> None:
    how = {**LONG, "schedule": schedule, "group_by_length": grouped}
    if schedule == "constant":
        del how["decay"]
    branches = {"wsd": [4, 8], "constant": [4, 9]}[schedule]
    before, last = 0, None
    for share, branch in zip((0.25, 0.5), branches, strict=True):
        ctx = make_context(f"part-{share}", **how, share=share)
        result = train(ctx)
        assert result["steps"] == 20 * share
        assert result.get("taken_over", 0) == before
        assert trunks(ctx) == [branch]  # the furthest alone
        before, last = branch, ctx
    whole = make_context("whole", **how)
    assert train(whole)["taken_over"] == before
    assert trunks(whole) == []  # nothing longer can come
    for ctx in (last, whole):
        assert ctx is not None
        own = alone(ctx, tmp_path / f"alone-{ctx.work.name}")
        assert "taken_over" not in train(own)
        assert_alike(ctx, own)


def test_a_cosine_is_another_run_at_every_length(make_context: Make) -> None:
    how = {**LONG, "schedule": "cosine", "decay": None}
    part = make_context("part", **how, share=0.5)
    train(part)
    assert not part.prefix.exists()
    short = make_context("short", **{**how, "steps": 10})
    train(short)
    assert_alike(part, short)


def test_shares_of_epochs_are_prefixes_too(make_context: Make, tmp_path: Path) -> None:
    how = {**LONG, "steps": None, "epochs": 8.0}  # 19 steps
    part = make_context("part", **how, share=0.5)
    assert train(part)["steps"] == 10
    whole = make_context("whole", **how)
    result = train(whole)
    assert (result["steps"], result["taken_over"]) == (19, 8)
    own = alone(whole, tmp_path / "alone")
    train(own)
    assert_alike(whole, own)


def test_bad_images_of_the_trunk_are_counted_once(make_context: Make, tmp_path: Path) -> None:
    data = own_data(tmp_path, broken=(1, 4), max_bad=2)
    part = make_context("part", **LONG, data=data, share=0.5)
    train(part)
    whole = make_context("whole", **LONG, data=data)
    result = train(whole)
    assert result["taken_over"] == 8
    own = alone(whole, tmp_path / "alone")
    assert train(own)["bad_rows"] == result["bad_rows"]
    assert (whole.work / "bad-images.jsonl").read_bytes() == (
        own.work / "bad-images.jsonl"
    ).read_bytes()
    assert_alike(whole, own)


@pytest.mark.parametrize(  # before the branch, at it, and after
    "last", [pytest.param(2, marks=pytest.mark.slow), 8, pytest.param(9, marks=pytest.mark.slow)]
)
def test_killed_on_the_trunk_or_the_branch_nothing_differs(
    make_context: Make, tmp_path: Path, last: int
) -> None:
    infra = {"checkpoint_every_steps": 3}
    part = make_context("part", **LONG, share=0.5, infra=infra)
    assert train_apart(part, last) == -9
    train(part)
    whole = make_context("whole", **LONG, infra=infra)
    assert train_apart(whole, 12) == -9
    assert train(whole)["taken_over"] == 8
    for ctx in (part, whole):
        own = alone(ctx, tmp_path / f"alone-{ctx.work.name}")
        train(own)
        assert_alike(ctx, own)


def test_a_damaged_trunk_costs_time_only(
    make_context: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = make_context("part", **LONG, share=0.5)
    train(part)
    [state] = part.prefix.glob("8/state/*.safetensors")
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.unlink()
    state.write_bytes(content)
    whole = make_context("whole", **LONG)
    assert "taken_over" not in train(whole)
    assert "the checksum of state/0.safetensors does not hold" in capsys.readouterr().err


def test_a_home_without_its_prefixes_trains_anew(make_context: Make) -> None:
    part = make_context("part", **LONG, share=0.5)
    train(part)
    shutil.rmtree(part.home / "prefixes")
    assert "taken_over" not in train(make_context("whole", **LONG))


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [1, 2])
def test_stopped_at_random_moments_the_chain_of_shares_ends_the_same(
    make_context: Make, tmp_path: Path, tasks: int
) -> None:
    infra = {"checkpoint_every_steps": 3, "micro_batch_size": 2}
    part, whole = (make_context(name, **LONG, **more) for name, more in SHARES)
    calm = Job(whole, tmp_path / "calm", tasks, infra).done()
    first = Job(part, tmp_path / "stopped", tasks, infra)
    second = Job(whole, tmp_path / "stopped", tasks, infra)
    for job, moment in ((first, 25), (second, 31)):
        victim = Signal(tmp_path / "kept", moment % tasks, moment)
        assert job.with_(prepare=victim).run().status == "lost"
        job.done()
    record = json.loads((second.artifact / "record.json").read_text())
    assert record["result"]["taken_over"] == 8
    assert second.rows() == calm.rows()
    assert_same(weights(second.artifact), weights(calm.artifact))


SHARES: tuple[tuple[str, dict[str, Any]], ...] = (("part", {"share": 0.5}), ("whole", {}))
