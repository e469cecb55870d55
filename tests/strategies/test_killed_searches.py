"""Killed with -9 in the middle and started again, any search ends as if it had not been."""

import json
import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import core_fakes
import pytest
from forks import forked

from ablate.config.study import Study, load_study
from ablate.driver.scheduler import drive
from ablate.home import Home
from ablate.reports import looks
from ablate.reports.load import load
from ablate.reports.story import chose, tell
from ablate.reports.tables import comparison

POOL = "pool: [pix2struct-micro, convnext-micro, sam-micro]"
OPTUNA = """explore={kind: optuna, n_trials: 6, parallel: 2,
  sampler: {name: tpe, n_startup_trials: 2}, pruner: {name: median, n_startup_trials: 1},
  budgets: [{stages: {finetune: 0.5}}, {}], space: {
  encoders: {kind: subset, of: [pix2struct-micro, convnext-micro]},
  recipe.finetune.train.llm: {kind: float, low: 1.0e-4, high: 1.0e-3, log: true}}}"""
STUDIES = {
    "rounds": [f"explore={{kind: rounds, rounds: 3, {POOL}}}"],
    "backward": [f"explore={{kind: rounds, rounds: 3, direction: backward, {POOL}}}"],
    "beam": [f"explore={{kind: beam, rounds: 3, width: 2, {POOL}}}"],
    "exhaustive": [f"explore={{kind: exhaustive, size: 2, {POOL}}}"],
    "optuna": [OPTUNA],
    "racing": [f"explore={{kind: racing, rounds: 3, most_seeds: 3, {POOL}}}"],
    "seeds where they matter": [f"explore={{kind: rounds, rounds: 3, {POOL}}}", "seeds=auto"],
    "seeds of arms": [f"explore={{kind: exhaustive, size: 1, {POOL}}}", "seeds=auto"],
}


def study_of(words: list[str]) -> Study:
    return load_study("micro/smoke", [*words, *([] if "seeds=auto" in words else ["seeds=[0]"])])


def driven(words: list[str], home: Path) -> None:
    drive(study_of(words), backend="inline", home=home, executors=core_fakes.EXECUTORS)


def shown(words: list[str], home: Path) -> None:
    """What tables and story make of it: of what is trained in part no score, and no end."""
    found = load(study_of(words), home)
    frame = comparison(found)
    assert not any("%" in name for name in frame["candidate"])
    assert {one.name for one in found.candidates} == set(frame["candidate"])
    assert not (found.complete and any("not finished" in one for one in tell(found).missing))
    for turn in found.rounds:
        assert chose(found, turn)
        assert len(looks.rows(found, turn)) == len(turn.looks)


def decisions(home: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in home.glob("**/round-*.json")}


FIRST = ("rounds", "optuna", "racing", "seeds where they matter")
"""With each sort of turn: chosen by score, told to a sampler, looked at on the way, seeded anew."""


@pytest.mark.parametrize(
    "name",
    [
        *FIRST,
        *(pytest.param(name, marks=pytest.mark.slow) for name in STUDIES if name not in FIRST),
    ],
)
def test_it_proposes_and_decides_the_same_and_trains_nothing_twice(
    name: str, tmp_path: Path
) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    print(f"CHAOS_SEED={seed}")
    chance, whole, killed = random.Random(seed), tmp_path / "whole", tmp_path / "killed"
    driven(STUDIES[name], whole)
    total = len(core_fakes.executed(whole))
    for _ in range(2):
        enough = chance.randrange(1, total)
        child = forked(partial(driven, STUDIES[name], killed))
        while len(core_fakes.executed(killed, "begin")) < enough:
            if os.waitpid(child, os.WNOHANG)[0]:
                break
            time.sleep(0.005)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        if Home(killed).store.is_dir():
            shown(STUDIES[name], killed)
    before = core_fakes.executed(killed)
    stored = {path.parent.name for path in Home(killed).store.glob("*/*/record.json")}
    driven(STUDIES[name], killed)
    again = core_fakes.executed(killed)[len(before) :]
    assert not {line.split(" ")[1] for line in again} & stored
    assert set(core_fakes.executed(killed)) == set(core_fakes.executed(whole))
    assert decisions(killed) == decisions(whole)
    shown(STUDIES[name], killed)
    assert load(study_of(STUDIES[name]), killed).complete
