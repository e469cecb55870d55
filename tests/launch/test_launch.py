"""Each slot gets its share of the machine, and each job what the cluster was asked for."""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ablate.config.infra import Infra
from ablate.config.study import Study
from ablate.driver.scheduler import drive
from ablate.errors import UserError
from ablate.files import write_json
from ablate.launch.backends import open_backend
from ablate.launch.devices import cores, gpus
from ablate.launch.inline.chains import InProcess
from ablate.launch.local import slots
from ablate.launch.local.slots import Slots
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.process import Process
from ablate.store.record import threads
from ablate.store.results import StoredResults
from ablate.store.steps import steps_for
from ablate.worker.context import StepContext


def surroundings(ctx: StepContext) -> dict[str, Any]:
    """What a worker process sees of the machine, and that it leads its own session."""
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "TOKENIZERS_PARALLELISM")
    alone = os.getsid(0) == os.getpid()
    return {"device": ctx.device, "alone": alone, **{name: os.environ.get(name) for name in names}}


def fail(ctx: StepContext) -> dict[str, Any]:
    raise UserError(json.dumps(surroundings(ctx)))


@pytest.fixture
def nosy(fakes: Mapping[str, str]) -> dict[str, str]:
    return {**fakes, "prealign": "test_launch:fail"}


def seen(study: Study, home: Path, nosy: Mapping[str, str], jobs: int) -> list[dict[str, Any]]:
    anywhere = study.model_copy(update={"infra": Infra()})
    drive(anywhere, backend="local", jobs=jobs, home=home, executors=nosy)
    failures = (Store(home).home / "failed" / "prealign").glob("*/record.json")
    return [json.loads(json.loads(path.read_text())["error"]["message"]) for path in failures]


def test_a_slot_has_its_share_of_the_cores_and_no_gpu_where_there_is_none(
    small: Study, own_home: Path, nosy: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("ablate.launch.local.launcher.cores", lambda: 6)
    for found in seen(small, own_home, nosy, 2):
        assert (found["device"], found["CUDA_VISIBLE_DEVICES"]) == ("cpu", "")
        assert (found["OMP_NUM_THREADS"], found["alone"]) == ("3", True)


def test_each_slot_has_a_gpu_of_its_own(
    small: Study, own_home: Path, nosy: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    small = small.model_copy(update={"infra": Infra()})
    found = seen(small, own_home, nosy, 2)
    assert {one["device"] for one in found} == {"cuda"}
    assert {one["CUDA_VISIBLE_DEVICES"] for one in found} <= {"5", "7"}


@pytest.mark.parametrize(
    ("visible", "found"),
    [("", []), ("-1", []), ("3", ["3"]), ("GPU-ab,GPU-cd", ["GPU-ab", "GPU-cd"])],
)
def test_gpus_are_those_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, visible: str, found: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus() == found


@pytest.mark.parametrize(
    ("said", "count"), [("4", 4), ("4,2", 4), ("", None), ("many", None), ("0", None)]
)
def test_a_strange_number_of_threads_is_no_accident(
    monkeypatch: pytest.MonkeyPatch, said: str, count: int | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads() == count


def test_without_being_told_there_is_a_slot_a_gpu_or_one_a_core_up_to_four(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4")
    assert open_backend("local", None, tmp_path, tmp_path / "d", Infra()).slots == 5
    assert open_backend("local", None, tmp_path, tmp_path / "d", Infra(device="cpu")).slots == min(
        4, cores()
    )


def test_asking_for_a_gpu_where_there_is_none_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match="there is no GPU here"):
        open_backend("local", 1, tmp_path, tmp_path / "d", Infra(device="cuda"))


def test_a_worker_that_cannot_begin_says_why(
    small: Study, own_home: Path, fakes: Mapping[str, str]
) -> None:
    rounds = drive(
        small,
        1,
        "local",
        1,
        home=own_home,
        executors={**fakes, "prealign": "core_fakes:exit_with_a_word"},
    )
    assert rounds[0].decision is None
    failure = next((own_home / "failed" / "prealign").glob("*/record.json"))
    assert "its process died" in json.loads(failure.read_text())["error"]["message"]


def test_a_driver_whose_steps_another_has_at_hand_looks_now_and_then(
    small: Study, own_home: Path, fakes: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, start = [], InProcess.start
    monkeypatch.setattr(InProcess, "start", lambda *words: turns.append(1) or start(*words))
    store = Store(own_home)
    base = steps_for(rounds_so_far(small, StoredResults(store, small))[0].candidates[0], small)
    held = [store.watch.take(store.leases(step)) for step in base]
    threading.Timer(1.0, lambda: [lease.release() for lease in held if lease]).start()
    drive(small, 1, "inline", home=own_home, executors=fakes)
    assert len(turns) < 40


def test_closing_ends_slots_that_never_had_work(tmp_path: Path) -> None:
    backend = open_backend("local", 2, tmp_path, tmp_path / "d", Infra(device="cpu"))
    assert isinstance(backend, Slots)
    backend.close()
    assert Process.this().runs()


def test_the_gpu_of_a_worker_whose_driver_is_dead_is_left_to_it_and_the_others_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    monkeypatch.setattr(slots, "LOOK", 0.0)
    left, dead = tmp_path / "drives" / "dead", replace(Process.this(), born="1")
    write_json(left / "driver.json", {"study": "another", "process": asdict(dead)})
    write_json(left / "slot-0" / "worker.json", asdict(Process.this()))
    (left / "slot-0" / "cards").write_text("5")
    backend = open_backend("local", None, tmp_path, tmp_path / "drives" / "d", Infra())
    assert isinstance(backend, Slots)
    assert backend.slots == 2
    assert backend.notice.startswith(f"waiting for their device: process {os.getpid()} of another")
    assert [slot.cards for slot in backend._taken()] == ["5"]
    write_json(left / "slot-0" / "worker.json", asdict(dead))
    assert backend.slots == 3
    assert backend.notice == "the workers whose driver was dead have ended"
