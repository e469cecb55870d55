"""A study is driven to the same end whatever happens on the way, and nothing is done twice."""

import contextlib
import errno
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import core_fakes
import pytest
from clocks import Clock

from ablate.config.study import Study, load_study
from ablate.driver import scheduler
from ablate.driver.events import Event
from ablate.driver.frontier import Frontier
from ablate.driver.scheduler import LOOK, drive
from ablate.errors import UserError
from ablate.files import read_json
from ablate.launch.backends import open_backend
from ablate.launch.inline.chains import InProcess
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.results import StoredResults
from ablate.store.steps import Step, ancestors, steps_for
from ablate.worker.context import StepContext

SMOKE_STEPS = {"prealign": 3, "pretrain": 3, "finetune": 3, "evaluate": 3}


def kinds(lines: list[str]) -> dict[str, int]:
    found = [line.split()[0] for line in lines]
    return {kind: found.count(kind) for kind in dict.fromkeys(sorted(found, reverse=True))}


def all_steps(study: Study, home: Path) -> list[Step]:
    rounds = rounds_so_far(study, StoredResults(Store(home), study))
    return ancestors(steps_for(one, study)[-1] for turn in rounds for one in turn.candidates)


@pytest.mark.parametrize("backend", ["inline", "local"])
def test_a_study_runs_to_its_end_with_every_step_once(
    small: Study, fakes: Mapping[str, str], own_home: Path, backend: str
) -> None:
    events: list[Event] = []
    rounds = drive(small, backend=backend, home=own_home, on_event=events.append, executors=fakes)
    assert kinds(core_fakes.executed(own_home, "begin")) == SMOKE_STEPS
    assert [turn.decision.winner if turn.decision else "" for turn in rounds] == [
        "clip-micro@32",
        "clip-micro@32+pix2struct-micro@128",
    ]
    told = [event.what for event in events]
    assert (told.count("done"), told.count("decided")) == (12, 2)
    assert told.count("submitted") + told.count("started") == 12
    assert not list((own_home / "drives").iterdir())


def test_a_study_that_is_done_is_found_done_at_once(
    small: Study, fakes: Mapping[str, str], own_home: Path
) -> None:
    first = drive(small, backend="inline", home=own_home, executors=fakes)
    before = core_fakes.executed(own_home, "begin")
    events: list[Event] = []
    again = drive(small, backend="inline", home=own_home, on_event=events.append, executors=fakes)
    assert again == first
    assert core_fakes.executed(own_home, "begin") == before
    assert events == []


def test_a_longer_study_does_only_what_is_lacking(fakes: Mapping[str, str], own_home: Path) -> None:
    study = load_study("micro/rounds", ["seeds=[0]"])
    drive(study, 2, "inline", home=own_home, executors=fakes)
    assert kinds(core_fakes.executed(own_home))["finetune"] == 6
    drive(study, 3, "inline", home=own_home, executors=fakes)
    done = core_fakes.executed(own_home)
    assert kinds(done) == {"prealign": 6, "pretrain": 10, "finetune": 10, "evaluate": 10}
    assert len(set(done)) == len(done)


def test_decisions_are_written_down(small: Study, fakes: Mapping[str, str], own_home: Path) -> None:
    rounds = drive(small, backend="inline", home=own_home, executors=fakes)
    folder = own_home / "studies" / small.id
    stored = [read_json(folder / "decisions" / f"round-{n}.json") for n in (1, 2)]
    for turn, found in zip(rounds, stored, strict=True):
        assert turn.decision
        assert found.pop("sha256")
        assert found == turn.decision.to_json()
    assert stored[1]["runner_up"] == "clip-micro@32+convnext-micro@128"
    low, high = stored[1]["interval"]
    assert low <= stored[1]["difference"] <= high
    assert (folder / "optuna.journal").exists()


def fails_on(word: str) -> dict[str, Any]:
    def train(ctx: StepContext) -> dict[str, Any]:
        if ctx.step_kind == "pretrain" and word in ctx.work.name:
            core_fakes.note(ctx, "begin")
            raise UserError("the loss is not a number")
        return core_fakes.train(ctx)

    trained = dict.fromkeys(("prealign", "pretrain", "finetune"), train)
    return {**trained, "evaluate": core_fakes.evaluate}


def test_a_failed_candidate_stays_in_its_round_with_its_reason(
    small: Study, own_home: Path
) -> None:
    rounds = drive(small, backend="inline", home=own_home, executors=fails_on("pix2struct"))
    decision = rounds[1].decision
    assert decision
    assert decision.winner == "clip-micro@32+convnext-micro@128"
    assert decision.failed == {
        "clip-micro@32+pix2struct-micro@128": "pretrain: the loss is not a number"
    }
    assert len(rounds[1].candidates) == 2


def test_what_failed_stays_failed_until_it_is_forgiven(
    small: Study, fakes: Mapping[str, str], own_home: Path
) -> None:
    for _ in range(2):
        rounds = drive(small, backend="inline", home=own_home, executors=fails_on("pix2struct"))
        tried = [line for line in core_fakes.executed(own_home, "begin") if "pix2struct" in line]
        assert kinds(tried)["pretrain"] == 1
        assert rounds[1].decision
        assert list(rounds[1].decision.failed) == ["clip-micro@32+pix2struct-micro@128"]
    for step in all_steps(small, own_home):
        Store(own_home).forgive(step)
    rounds = drive(small, backend="inline", home=own_home, executors=fakes)
    decision = rounds[1].decision
    assert decision
    assert decision.winner == "clip-micro@32+pix2struct-micro@128"
    assert decision.failed == {}


@pytest.mark.usefixtures("sleepless")
def test_what_is_forgiven_is_tried_again_by_a_driver_that_lives(
    small: Study, fakes: Mapping[str, str], own_home: Path
) -> None:
    def evaluate(ctx: StepContext) -> dict[str, Any]:
        if "convnext" in ctx.work.name:
            for step in all_steps(small, own_home):
                Store(own_home).forgive(step)
        return core_fakes.evaluate(ctx)

    def see(event: Event) -> None:
        time.sleep(1.1 * LOOK * (event.what == "failed"))  # the driver looks around after it

    executors = {**fails_on("pix2struct"), "evaluate": evaluate}
    drive(small, backend="inline", home=own_home, on_event=see, executors=executors)
    tried = [line for line in core_fakes.executed(own_home, "begin") if "pix2struct" in line]
    assert kinds(tried)["pretrain"] == 2


def test_a_round_in_which_all_failed_is_not_decided_and_ends_the_study(
    small: Study, own_home: Path
) -> None:
    rounds = drive(small, backend="inline", home=own_home, executors=fails_on("+"))
    assert rounds[0].decision
    assert rounds[1].decision is None


def test_a_damaged_artifact_is_made_again_and_nothing_else(
    small: Study, fakes: Mapping[str, str], own_home: Path
) -> None:
    first = drive(small, backend="inline", home=own_home, executors=fakes)
    before = core_fakes.executed(own_home)
    answers = next((own_home / "store" / "evaluate").glob("*pix2struct*/answers.jsonl"))
    answers.write_bytes(answers.read_bytes().replace(b'"score": 1.0', b'"score": 0.0'))
    events: list[Event] = []
    again = drive(small, backend="inline", home=own_home, on_event=events.append, executors=fakes)
    assert again == first
    assert "corrupt" in [event.what for event in events]
    after = core_fakes.executed(own_home)
    assert after[: len(before)] == before
    assert kinds(after[len(before) :]) == {"evaluate": 1}


def test_damaged_weights_are_noticed_when_they_are_needed(
    small: Study, fakes: Mapping[str, str], own_home: Path
) -> None:
    first = drive(small, 1, "inline", home=own_home, executors=fakes)
    clip = next((own_home / "store" / "prealign").glob("clip*/weights.txt"))
    clip.write_text(clip.read_text()[::-1])
    rounds = drive(small, backend="local", jobs=1, home=own_home, executors=fakes)
    assert rounds[0] == first[0]
    assert rounds[1].decision
    assert len(list((own_home / "quarantine" / "prealign").iterdir())) == 1


def test_a_worker_that_dies_every_time_fails_its_candidate(
    small: Study, fakes: Mapping[str, str], own_home: Path
) -> None:
    executors = {**fakes, "evaluate": "core_fakes:die"}
    events: list[Event] = []
    study = small.model_copy(update={"seeds": (0,)})
    rounds = drive(study, 1, "local", 1, home=own_home, on_event=events.append, executors=executors)
    assert rounds[0].decision is None
    assert [event.what for event in events].count("lost") == 3
    steps = steps_for(rounds[0].candidates[0], study)
    failure = Store(own_home).failure(steps[-1])
    assert failure
    assert failure["error"]["type"] == "Lost"
    assert kinds(core_fakes.executed(own_home, "begin"))["finetune"] == 1


def test_a_worker_that_dies_once_is_replaced(
    small: Study, fakes: Mapping[str, str], own_home: Path
) -> None:
    executors = {**fakes, "evaluate": "core_fakes:die_once"}
    rounds = drive(small, 1, "local", 1, home=own_home, executors=executors)
    assert rounds[0].decision
    steps = steps_for(rounds[0].candidates[0], small)
    record = Store(own_home).record(steps[-1])
    assert record
    assert record["restarts"] == 1


def test_a_full_disk_is_one_line_and_costs_nothing(
    small: Study, fakes: Mapping[str, str], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, left = os.fsync, [40]

    def fill_up(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(handle)

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(UserError, match="No space left on device"):
        drive(small, backend="inline", home=own_home, executors=fakes)
    monkeypatch.setattr(os, "fsync", flush)
    done = {step.key for step in all_steps(small, own_home) if Store(own_home).record(step)}
    assert done
    drive(small, backend="inline", home=own_home, executors=fakes)
    again = core_fakes.executed(own_home, "begin")
    for step in all_steps(small, own_home):
        times = again.count(f"{step.kind} {step.dirname}")
        assert times == 1 if step.key in done else times in (1, 2)


def test_a_disk_that_is_read_only_is_one_line(
    small: Study, fakes: Mapping[str, str], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match=r"cannot write below .*Read-only file system"):
        drive(small, backend="inline", home=own_home, executors=fakes)


@pytest.mark.parametrize(
    ("rounds", "said"), [(0, "no round 0"), (9, "no round 9; choose one of 1")]
)
def test_a_round_the_study_does_not_have_is_an_error(
    small: Study, own_home: Path, rounds: int, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        drive(small, rounds, home=own_home)


def test_an_unknown_backend_is_named_with_the_nearest(small: Study, own_home: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'slurm'"):
        drive(small, backend="slurn", home=own_home)


def test_driving_imports_nothing_heavy(
    small: Study, fakes: Mapping[str, str], own_home: Path
) -> None:
    drive(small, backend="inline", home=own_home, executors=fakes)
    code = f"""
import sys
from pathlib import Path
from ablate.driver.events import Event
from ablate.driver.frontier import Frontier
from ablate.driver.scheduler import drive
from ablate.config.study import load_study
drive(load_study("micro/smoke", ["seeds=[0]"]), home=Path({str(own_home)!r}))
print(*(name for name in ("torch", "numpy", "optuna", "submitit") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_looks_at_many_candidates_are_rare_and_a_wish_to_end_is_heard_soon(
    small: Study, own_home: Path, monkeypatch: pytest.MonkeyPatch, sleepless: Clock
) -> None:
    class Busy(InProcess):
        """A backend that works on one chain for ever."""

        def __init__(self) -> None:
            pass

        def start(self, chains: Any) -> Any:
            return [self for _ in chains]

        def poll(self) -> None:
            return None

    looks, chains = list[float](), Frontier.chains

    def slowly(frontier: Frontier, taken: Any) -> Any:
        looks.append(time.monotonic())
        time.sleep(0.2)
        return chains(frontier, taken)

    monkeypatch.setattr(Frontier, "chains", slowly)
    monkeypatch.setattr(scheduler, "LOOK", 0.1)
    driver = scheduler.Driver(
        small, None, Store(own_home), own_home / "drives" / "d", "inline", print
    )
    driver.tenure.acquire(driver.folder)
    sleepless.asleep = lambda: sleepless.passed > 2.0 and (driver.folder / "stop").touch()
    with contextlib.closing(driver.tenure), pytest.raises(SystemExit):
        driver.work(Busy())
    assert len(looks) == 1  # each takes 0.2 s, so the next is after four


def test_what_another_driver_has_done_since_it_was_found_ready_is_not_started(
    small: Study, fakes: Mapping[str, str], own_home: Path
) -> None:
    folder = own_home / "drives" / "d"
    driver = scheduler.Driver(small, None, Store(own_home), folder, "inline", print)
    ready = deque(driver._ready())
    assert ready
    drive(small, backend="inline", home=own_home, executors=fakes)
    driver._start(ready, open_backend("inline", None, own_home, folder, small.infra, fakes))
    assert not driver.running


def test_seeds_are_averaged_and_arms_compared_in_one_round(
    fakes: Mapping[str, str], own_home: Path
) -> None:
    study = load_study("micro/prealign", ["seeds=[0, 1]"])
    rounds = drive(study, backend="inline", home=own_home, executors=fakes)
    assert len(rounds) == 1
    assert len(rounds[0].candidates) == 8
    decision = rounds[0].decision
    assert decision
    assert set(decision.scores) == {arm.point for arm in rounds[0].candidates}
    lookup = StoredResults(Store(own_home), study)
    for point, score in decision.scores.items():
        seeds = [lookup.result(one) for one in rounds[0].candidates if one.point == point]
        composites = [one.composite for one in seeds if one and hasattr(one, "composite")]
        assert score == pytest.approx(sum(composites) / 2)


def test_a_benchmark_that_is_not_here_is_named_before_anything_is_trained(
    fakes: Mapping[str, str], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ABLATE_DATA", raising=False)
    study = load_study("micro/smoke", ["suite=eagle-proxy"])
    with pytest.raises(UserError, match=r"no set of pope at .*/datasets/benchmarks/pope"):
        drive(study, backend="inline", home=own_home, executors=fakes)
    assert core_fakes.executed(own_home, "begin") == []
