"""What is gone below a score that stands: every command says the same of it, and goes on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import core_fakes
import pytest
from in_process import Answer, ablate, faked

from ablate.commands import report as reporting
from ablate.config.study import load_study
from ablate.store.artifacts import Store
from ablate.worker.context import StepContext

STUDY = ("micro/smoke", "--set", "seeds=[0]")
RUN = ("run", *STUDY, "--backend", "inline")


def quarantined(home: Path, kind: str, word: str = "pix2struct") -> None:
    """Damage an artifact and have it set aside, as a reader does that finds it out."""
    (folder,) = (one for one in (home / "store" / kind).iterdir() if word in one.name)
    aside = home / "quarantine" / kind
    aside.mkdir(parents=True)
    folder.rename(aside / f"{folder.name}.1")


def table() -> list[dict[str, object]]:
    """What the table shows but for the time, which is not known of what is gone."""
    rows = json.loads(ablate("table", *STUDY, "--json").out)["rows"]
    return [{name: cell for name, cell in row.items() if name != "seconds"} for row in rows]


@pytest.fixture
def run(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Answer]:
    """Runs the study to its end by the fakes."""
    monkeypatch.setattr(reporting, "build", lambda study: "nowhere")

    def run() -> Answer:
        with faked(core_fakes.EXECUTORS):
            return ablate(*RUN)

    assert run().code == 0
    return run


@pytest.mark.parametrize("kind", ["prealign", "pretrain", "finetune"])
def test_what_is_gone_below_a_score_is_not_needed_and_all_commands_agree(
    run: Callable[[], Answer], own_home: Path, kind: str
) -> None:
    before = table()
    begun = core_fakes.executed(own_home, "begin")
    quarantined(own_home, kind)
    for again in (run, lambda: ablate("retry", *STUDY)):
        assert again().code == 0
    assert core_fakes.executed(own_home, "begin") == begun
    assert table() == before
    said = ablate("status", *STUDY).out
    assert "12 of 12 steps done" in said
    assert f"gone, and not needed for what is scored: {kind} " in said
    found = json.loads(ablate("status", *STUDY, "--json").out)
    assert found["complete"]
    assert {one["state"] for turn in found["rounds"] for one in turn["candidates"]} == {"done"}
    assert "11 cached, 0 to do" in ablate("plan", *STUDY).out


def test_what_is_gone_is_made_again_once_something_needs_it(
    run: Callable[[], Answer], own_home: Path
) -> None:
    quarantined(own_home, "finetune")
    shutil.rmtree(next(own_home.glob("store/evaluate/*pix2struct*")))
    said = ablate("status", *STUDY).out
    assert "10 of 12 steps done" in said
    assert "gone" not in said
    begun = len(core_fakes.executed(own_home, "begin"))
    assert run().code == 0
    kinds = [line.split()[0] for line in core_fakes.executed(own_home, "begin")[begun:]]
    assert kinds == ["finetune", "evaluate"]


def test_the_time_that_a_step_took_is_told_after_it_was_cancelled(own_home: Path) -> None:
    def stop(ctx: StepContext) -> None:
        assert ctx._lease
        ctx._lease.spent = 7200.0
        raise KeyboardInterrupt

    with faked({**core_fakes.EXECUTORS, "prealign": stop}):
        assert ablate(*RUN).code == 130
    assert "2.0 CPU-hours" in ablate("status", *STUDY).out
    study = load_study(STUDY[0], [STUDY[2]])
    assert not Store(own_home).failing()
    with faked({**core_fakes.EXECUTORS, "prealign": stop}):  # and is not told twice
        assert ablate(*RUN).code == 130
    assert "2.0 CPU-hours" in ablate("status", study.name, *STUDY[1:]).out
