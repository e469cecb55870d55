"""Steps of several processes, on slots of this machine: all at work, or the step is not done."""

import json
import os
import signal
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import core_fakes
import pytest

from ablate.config.infra import Infra
from ablate.config.study import Study, load_study
from ablate.driver.scheduler import drive
from ablate.errors import UserError
from ablate.launch.backends import open_backend
from ablate.store.process import born
from ablate.store.steps import Step
from ablate.worker.context import StepContext


def follower_dies_once(ctx: StepContext) -> dict[str, Any]:
    if not ctx.world.leads and not (ctx.home / "died").exists():
        (ctx.home / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return core_fakes.together(ctx)


def follower_fails(ctx: StepContext) -> dict[str, Any]:
    if not ctx.world.leads:
        raise UserError("row 3 is bad")
    time.sleep(600)
    return {}


@pytest.fixture
def shared(fakes: Mapping[str, str]) -> dict[str, str]:
    kinds = ("prealign", "pretrain", "finetune")
    return {**fakes, **dict.fromkeys(kinds, "core_fakes:together")}


@pytest.fixture
def two() -> Study:
    changes = ["seeds=[0]", "explore.rounds=1", "infra.devices=2", "infra.device=auto"]
    return load_study("micro/smoke", [*changes, "infra.kinds.evaluate.devices=1"])


def records(home: Path, below: str) -> list[dict[str, Any]]:
    paths = sorted((home / below).glob("*/*/record.json"))
    return [json.loads(path.read_text()) for path in paths]


def test_all_processes_of_a_slot_do_a_step_and_the_first_commits_it(
    two: Study, own_home: Path, shared: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")  # two make a slot, one is left over
    (turn,) = drive(two, backend="local", home=own_home, executors=shared)
    assert turn.decision
    found = records(own_home, "store")
    for record in found:
        if record["kind"] == "evaluate":
            assert record["devices"] == 1
            continue
        there = record["result"]["there"]
        assert [one[0] for one in there] == [0, 1]
        assert there[0][1] != there[1][1]
        assert [one[2:] for one in there] == [["3,5", "cuda:0"], ["3,5", "cuda:1"]]
        assert record["devices"] == 2
        assert record["device_seconds"] >= 2 * record["seconds"]
    logs = [path.read_text() for path in own_home.glob("store/*/*/metrics.jsonl")]
    assert all('"by": 1' not in log for log in logs)  # only the leader's lines
    pids = {record["result"]["there"][1][1] for record in found if record["kind"] != "evaluate"}
    assert len(pids) == 1  # one slot, whose processes did all


def test_a_process_that_dies_costs_an_attempt_and_not_the_step(
    two: Study, own_home: Path, shared: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    seen: list[Any] = []
    shared["pretrain"] = "test_processes:follower_dies_once"
    (turn,) = drive(
        two, backend="local", jobs=1, home=own_home, executors=shared, on_event=seen.append
    )
    assert turn.decision
    assert [event.message for event in seen if event.what == "lost"] == ["process 1 of 2 died"]


def test_the_error_of_a_follower_is_in_the_record_of_the_failure(
    two: Study, own_home: Path, shared: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    shared["pretrain"] = "test_processes:follower_fails"
    began = time.monotonic()
    drive(two, backend="local", jobs=1, home=own_home, executors=shared)
    assert time.monotonic() - began < 300
    failures = [one["error"] for one in records(own_home, "failed")]
    assert failures == [{"type": "UserError", "message": "row 3 is bad"}]
    log = next(own_home.glob("logs/pretrain-*/process-1.log"))
    assert "row 3 is bad" in log.read_text()


def test_all_processes_end_with_their_driver(
    two: Study, own_home: Path, shared: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("FAKE_SECONDS", "600")

    backend = open_backend("local", 1, own_home, own_home / "d", two.infra, shared)
    backend.start([[Step("pretrain", "one", {"model": {}, "seed": 0})]])
    pids = [own_home / f"pid-{rank}" for rank in (0, 1)]
    deadline = time.monotonic() + 240
    while not all(path.exists() and path.read_text() for path in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert all(born(int(path.read_text())) for path in pids)
    backend.close()
    assert not any(born(int(path.read_text())) for path in pids)


def absent(name: str) -> str:
    """What `importlib.metadata.version` does for a package that is not installed."""
    raise PackageNotFoundError(name)


def test_what_this_machine_cannot_give_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(name: str, **infra: Any) -> Any:
        return open_backend(name, None, tmp_path, tmp_path / "d", Infra(**infra))

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr("ablate.config.infra.version", absent)
    with pytest.raises(UserError, match="finetune asks for 2 processes on each of 1 nodes, but"):
        opened("inline", kinds={"finetune": Infra(devices=2)})
    with pytest.raises(UserError, match=r"infra\.devices is 4, but there are 2 GPUs here"):
        opened("local", devices=4)
    with pytest.raises(UserError, match=r"infra\.nodes is above 1, but the backend local is one"):
        opened("local", nodes=2)
    with pytest.raises(UserError, match=r"infra\.strategy is deepspeed, which needs DeepSpeed"):
        opened("local", devices=2, strategy="deepspeed")
    assert opened("local", strategy="deepspeed").slots == 2  # one process has nothing to share
    assert opened("local", devices=2).slots == 1
    assert opened("local").slots == 2
