"""What is shown while a study runs: lines where there is no terminal, else a picture of it."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ablate.commands import state
from ablate.commands.survey import Survey, look
from ablate.files import write_atomic
from ablate.lease import Watch
from ablate.scheduler import Event, drive
from ablate.store import Store
from ablate.study import Study, load_study
from ablate.view import Scene, watching
from ablate.worker import StepContext

TASKS = ("abl_gqa", "abl_ocr")


def stage(context: StepContext) -> dict[str, Any]:
    context.progress(1, 2, "half way")
    if "sam-micro" in context.work.name and context.step_kind == "finetune":
        raise ValueError("no luck\nwith this one")
    return {}


def evaluate(context: StepContext) -> dict[str, Any]:
    rows = '{"task": "abl_gqa", "id": "1", "image": "a", "score": 1.0, "weight": 1.0}\n'
    write_atomic(context.work / "answers.jsonl", rows)
    value = 10.0 * len(context.work.name.split("+"))
    scores = {task: {"metric": "exact_match", "value": value, "n": 1} for task in TASKS}
    return {"scores": scores, "composite": value}


EXECUTORS = {"prealign": stage, "pretrain": stage, "finetune": stage, "evaluate": evaluate}


@pytest.fixture
def study() -> Study:
    return load_study("micro/rounds", ["explore.pool=[pix2struct-micro, sam-micro]"])


def run(study: Study, home: Path) -> Survey:
    """Run two rounds with executors that do nothing."""
    store = Store(home)
    with watching(study, store, 2) as on_event:
        drive(study, 2, "inline", home=home, on_event=on_event, executors=EXECUTORS)
    return look(study, store, 2)


def picture(found: Survey, events: Sequence[Event] = ()) -> str:
    scene = Scene(found, 2)
    for event in events:
        scene.on_event(event)
    console = Console(file=io.StringIO(), width=120)
    console.print(scene.draw())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return str(text)


def test_without_a_terminal_each_event_is_a_line(
    study: Study, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(study, own_home)
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert said.out == ""
    total = len(found.steps)
    assert lines[0] == f"[0/{total}] started  prealign clip-micro@32"
    assert any(line.startswith(f"[1/{total}] done     prealign clip-micro@32 (") for line in lines)
    assert any("failed   finetune" in line and "no luck with this one" in line for line in lines)
    assert any("round 2: clip-micro@32+pix2struct-micro@128 wins with 20.0" in one for one in lines)


def test_the_picture_shows_scores_winner_and_failure(study: Study, own_home: Path) -> None:
    found = run(study, own_home)
    failed = next(step for step in found.steps if found.standings[step.key].state == "failed")
    text = picture(found, [Event("failed", failed, "no luck")])
    assert "round 1  clip-micro@32" in text
    assert text.count("winner") == 2
    assert "20.0" in text
    assert "failed   finetune clip-micro@32+sam-micro@128.channel_concat: no luck" in text


def test_the_picture_shows_what_is_at_work_and_what_is_not_known(
    study: Study, own_home: Path
) -> None:
    store = Store(own_home)
    found = look(study, store)
    lease = Watch().take(store.leases(found.steps[0]))
    assert lease is not None
    lease.done, lease.total, lease.note = 3, 4, "loss 2.1"
    lease.release()
    lease = Watch().take(store.leases(found.steps[0]))
    assert lease is not None
    lease.done, lease.total, lease.note = 3, 4, "loss 2.1"
    lease._write()
    text = picture(look(study, store))
    assert "prealign  clip-micro@32" in text
    assert "loss 2.1" in text
    assert "round 3  not known yet" in text
    lease.release()


def test_names_are_never_markup(own_home: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    arm = "{name: '[bold]x[/nothing]', set: {}}"
    path.write_text(f"extends: micro/base\nexplore: {{kind: arms, axis: none, arms: [{arm}]}}\n")
    text = picture(look(load_study(str(path), ["title=a", "question=b"]), Store(own_home)))
    assert "[bold]x[/nothing]" in text


def test_status_says_score_failure_and_decision(study: Study, own_home: Path) -> None:
    found = run(study, own_home)
    rounds = state.as_data(found)["rounds"]
    assert rounds[1]["decision"]["winner"] == "clip-micro@32+pix2struct-micro@128"
    second = {one["name"]: one for one in rounds[1]["candidates"]}
    assert second["clip-micro@32+pix2struct-micro@128"]["score"] == 20.0
    assert second["clip-micro@32+sam-micro@128"]["state"] == "failed"
    reason = "finetune clip-micro@32+sam-micro@128.channel_concat: no luck with this one"
    assert second["clip-micro@32+sam-micro@128"]["failure"] == reason
    assert f"failed: {reason}" in state.as_text(found)


def test_time_left_is_judged_by_finished_steps_of_the_same_kind(
    study: Study, own_home: Path
) -> None:
    assert look(study, Store(own_home)).seconds_left() is None
    run(study, own_home)
    left = look(study, Store(own_home), 2).seconds_left()
    assert left is not None
    assert 0 <= left < 5
