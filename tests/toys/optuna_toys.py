"""Studies of the micro scale that Optuna leads, and what a storage shows of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import core_fakes
import optuna
from in_process import Answer, ablate, faked
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from ablate.config.study import Study, load_study
from ablate.design import Candidate
from ablate.strategies import Round

SPACE: dict[str, Any] = {
    "fusion.name": {"kind": "categorical", "choices": ["channel_concat", "sequence_append"]},
    "encoders": {"kind": "subset", "of": ["sam-micro", "convnext-micro"], "at_most": 1},
    "recipe.finetune.train.llm": {"kind": "float", "low": 1e-4, "high": 2e-3, "log": True},
    "recipe.finetune.steps": {"kind": "integer", "low": 6, "high": 12, "step": 3},
}
BUDGETS: list[dict[str, Any]] = [{"stages": {"finetune": share}} for share in (0.25, 0.5)]
BUDGETS += [{}]
PRUNED: dict[str, Any] = {
    "n_trials": 12,
    "parallel": 4,
    "budgets": BUDGETS,
    "pruner": {"name": "median", "n_startup_trials": 2, "n_warmup_steps": 0},
}


def words(**fields: Any) -> list[str]:
    """What makes a study one that Optuna leads; later fields over those here."""
    explore = {"kind": "optuna", "n_trials": 6, "parallel": 2, "space": SPACE, **fields}
    return [f"explore={json.dumps(explore)}", "seeds=[0]"]


def sets(**fields: Any) -> list[str]:
    return [word for one in words(**fields) for word in ("--set", one)]


def made(**fields: Any) -> Study:
    return load_study("micro/smoke", words(**fields))


def worth(one: Candidate) -> float:
    """A score that follows from a design: convnext is good, and a large rate is."""
    rate = one.recipe.stages()["finetune"].train["llm"]
    return round(20.0 + 30.0 * ("convnext-micro@128" in one.encoders) + 1e4 * rate, 3)


def names(turns: Sequence[Round]) -> list[str]:
    return [one.name for turn in turns for one in turn.candidates]


def run(*more: str, **fields: Any) -> Answer:
    with faked(core_fakes.EXECUTORS):
        return ablate("run", "micro/smoke", *sets(**fields), "--backend", "inline", *more)


def trials(home: Path, address: str = "") -> list[FrozenTrial]:
    """Those in the storage of the one study in a home."""
    (folder,) = {path.parent for path in home.glob("studies/**/optuna.lease")}
    storage: Any = (
        RDBStorage(address.replace("FOLDER", str(folder)))
        if address
        else JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    )
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage).trials
