"""What a step's tracker shows it under comes from its driver, beside the step, and is in no key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import core_fakes
import pytest

from ablate.config.study import Study, load_study
from ablate.driver.scheduler import drive
from ablate.worker.context import StepContext
from ablate.worker.run_labels import RunLabels

SEEN: dict[str, tuple[str, RunLabels | None]] = {}


def _noting(execute: Any) -> Any:
    def executor(ctx: StepContext) -> Any:
        SEEN[ctx.key] = ctx.slug, RunLabels.read(ctx.drive, ctx.key)
        return execute(ctx)

    return executor


@pytest.fixture
def seen() -> dict[str, tuple[str, RunLabels | None]]:
    SEEN.clear()
    return SEEN


def driven(study: Study, home: Path, fakes: Mapping[str, Any]) -> None:
    executors = {"train": core_fakes.train, "evaluate": core_fakes.evaluate}
    noting = {
        kind: _noting(executors["evaluate" if kind == "evaluate" else "train"]) for kind in fakes
    }
    drive(study, backend="inline", home=home, executors=noting)


def test_each_step_has_the_study_the_round_and_the_candidate_that_asked_first(
    fakes: Mapping[str, Any], own_home: Path, seen: Any
) -> None:
    study = load_study("micro/smoke", ["infra.tracker=tensorboard"])
    driven(study, own_home, fakes)
    assert len(seen) == 12
    for slug, labels in seen.values():
        assert labels.study == "micro/smoke"
        encoders = slug.partition(".")[0]
        assert encoders in labels.candidate
        assert labels.round == 1 + ("+" in labels.candidate)
    assert not list((own_home / "drives").iterdir())


def test_without_a_tracker_nothing_is_left_and_keys_are_the_same(
    fakes: Mapping[str, Any], own_home: Path, seen: Any, tmp_path: Path
) -> None:
    driven(load_study("micro/smoke", ["infra.tracker=tensorboard"]), own_home, fakes)
    keys = set(seen)
    seen.clear()
    driven(load_study("micro/smoke"), tmp_path / "other", fakes)
    assert set(seen) == keys
    assert [labels for _, labels in seen.values() if labels] == []
