"""A tracker shows what a stage's `metrics.jsonl` has, each step once, and never stops the stage."""

import json
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import doc_examples
import pandas
import pytest
from training_toys import Context, Make, train_apart

from ablate.catalog.trackers import TRACKERS
from ablate.trackers import tracking
from ablate.trackers.tensorboard import Tensorboard
from ablate.trackers.wandb import Wandb
from ablate.train.stage import train
from ablate.worker.run_labels import RunLabels

LABELS = RunLabels("micro/smoke", 2, "clip-micro@32 + sam")
Points = dict[str, list[tuple[int, float]]]


@pytest.fixture
def make_tracked(make_context: Make, tmp_path: Path) -> Make:
    """Contexts of a stage with a tracker, whose driver has left labels, in a home of their own."""

    def make(tracker: dict[str, Any], **more: Any) -> Context:
        ctx = make_context(infra={"checkpoint_every_steps": 2, "tracker": tracker}, **more)
        ctx.home, ctx.drive = tmp_path / "home", tmp_path / "drive"
        LABELS.write(ctx.drive, ctx.key)
        return ctx

    return make


def written(ctx: Context) -> Points:
    """What the rows of a stage's log say, as a tracker names it."""
    points: Points = {}
    for row in ctx.rows():
        rates = {f"lr/{part}": rate for part, rate in row.pop("lr").items()}
        for name, value in {**row, **rates}.items():
            points.setdefault(f"train/{name}", []).append((row["step"], value))
    del points["train/step"]
    return points


def shown(folder: Path) -> Points:
    """The points that TensorBoard shows of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def same(left: Points, right: Points) -> bool:
    """Whether both have the same points, up to TensorBoard's single precision."""
    return left.keys() == right.keys() and all(
        [step for step, _ in left[name]] == [step for step, _ in right[name]]
        and [value for _, value in left[name]]
        == pytest.approx([value for _, value in right[name]], rel=1e-6)
        for name in left
    )


def test_tensorboard_has_each_step_once_also_of_a_stage_that_was_killed(
    make_tracked: Make,
) -> None:
    ctx = make_tracked({"name": "tensorboard"})
    assert train_apart(ctx, last=5) < 0
    assert [row["step"] for row in ctx.rows()] == [1, 2, 3, 4, 5]
    [first] = ctx.home.rglob("events.*")
    stamp = first.name.split(".")[3]  # files are read in its order, and no attempt starts so soon
    first.rename(first.with_name(first.name.replace(stamp, str(int(stamp) - 9))))
    train(ctx)
    [folder] = {path.parent for path in ctx.home.rglob("events.*")}
    at = ctx.home / "tracking" / "tensorboard" / "micro/smoke" / "round-2" / "clip-micro-32-+-sam"
    assert folder == at / f"finetune-{ctx.key[:8]}"
    assert len(list(folder.glob("events.*"))) == 2
    assert [row["step"] for row in ctx.rows()] == [1, 2, 3, 4, 5, 6]
    assert same(shown(folder), written(ctx))


def test_wandb_offline_has_each_step_once_also_of_a_stage_that_was_killed(
    make_tracked: Make,
) -> None:
    # Once, and not in the process that is killed, too; pydantic asks of each class that it makes
    # what every caller's module is, and pytest's are many: a thread has none.
    with ThreadPoolExecutor() as thread:
        wandb = thread.submit(import_module, "wandb").result()
    assert hasattr(type(wandb.api), "api_key")  # None where nobody is logged in
    ctx = make_tracked({"name": "wandb", "project": "mine", "entity": "", "offline": True})
    assert train_apart(ctx, last=5) < 0
    train(ctx)
    [file] = (ctx.home / "tracking" / "wandb").glob("offline-run-*/*.wandb")
    runs = [record.run for record in records(file) if record.run.run_id]
    said = {
        (run.run_id, run.project, run.run_group, run.job_type, run.display_name) for run in runs
    }
    run_id = json.loads((ctx.work / "tracker.json").read_text())["id"]
    name = f"{LABELS.candidate} finetune"
    assert said == {(run_id, "mine", "micro/smoke/round-2", "finetune", name)}
    rows = [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
        for record in records(file)
        if (items := record.history.item)
    ]
    assert [row["_step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    for name, points in written(ctx).items():
        assert [(row["trainer/global_step"], row[name]) for row in rows] == points


def test_wandb_goes_on_after_the_step_that_its_server_knows() -> None:
    logger = SimpleNamespace(experiment=SimpleNamespace(starting_step=4))
    assert Wandb().known(logger, last=5) == 3


def records(path: Path) -> list[Any]:
    """What a file of W&B's holds."""
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    store, found = DataStore(), []
    store.open_for_scan(str(path))
    while (data := store.scan_data()) is not None:
        found.append(Record.FromString(data))
    return found


@pytest.mark.parametrize("method", ["open", "log", "close"])
def test_a_tracker_that_fails_costs_a_line_and_nothing_else(
    make_tracked: Make, monkeypatch: Any, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("the server\nis away")

    monkeypatch.setattr(Tensorboard, method, fail)
    ctx = make_tracked({"name": "tensorboard"}, steps=2)
    train(ctx)
    assert [row["step"] for row in ctx.rows()] == [1, 2]
    [line] = [line for line in capsys.readouterr().err.splitlines() if "tracker" in line]
    assert line.startswith("tracker tensorboard: OSError: the server is away; the step goes on")


def test_the_documented_tracker_of_another_package_shows_a_stage(
    make_tracked: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc_examples.install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert "csv_files" in TRACKERS.names()
    ctx = make_tracked({"name": "csv_files"}, steps=2)
    train(ctx)
    [file] = ctx.home.rglob("metrics.csv")
    assert file.parent.parent == ctx.home / "tracking" / "csv" / "micro/smoke" / "round-2"
    table = pandas.read_csv(file)
    losses = list(zip(table["step"], table["train/loss"], strict=True))
    assert losses == [(step, pytest.approx(loss)) for step, loss in written(ctx)["train/loss"]]


def test_what_a_smaller_share_has_done_and_scores_are_shown_too(make_tracked: Make) -> None:
    ctx = make_tracked({"name": "tensorboard"})
    for step in (1, 2, 3):
        ctx.log({"step": step, "loss": float(step)})
    with tracking(ctx, "train", step=2) as tracked:  # the third will be done again
        tracked.tell("train", {"step": 3, "loss": 7.0})
    [folder] = {path.parent for path in ctx.home.rglob("events.*")}
    assert shown(folder) == {"train/loss": [(1, 1.0), (2, 2.0), (3, 7.0)]}


def test_only_the_leading_process_has_a_tracker(make_tracked: Make) -> None:
    ctx = make_tracked({"name": "tensorboard"})
    ctx.world = type("Follower", (), {"leads": False})()
    with tracking(ctx, "train") as tracked:
        tracked.tell("train", {"step": 1, "loss": 1.0})
    assert not ctx.home.exists()
