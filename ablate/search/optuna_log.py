"""Decided rounds as trials in an Optuna storage, for `optuna-dashboard` to show.

The storage is a journal file (`optuna-dashboard studies/<name>/optuna.journal` opens it): it needs
no database, and a write that was cut short can be told and dropped. Optuna itself is imported
when there is something to write. Nothing is read back: the search knows only the store.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fusion_zoo
from ablate.results import Evaluation, Failure, Lookup
from ablate.search.explore import Round
from ablate.steps import steps_for
from ablate.study import Arms, Candidate, Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MOST = 2**31 - 1


def record_round(journal: Path, study: Study, turn: Round, lookup: Lookup) -> None:
    """Add the candidates of a decided round as trials; those that are there already stay.

    A trial's value is the composite (a failed candidate's trial is FAIL, with the reason). Its
    parameters: for each encoder of the study whether it is in the mixture, the fusion, the seed,
    the round, and in a study of arms the arm. Its attributes: the candidate's name, mixture, step
    keys, score of each task, and whether its point won the round.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _alone(journal):
        storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=_Held()))
        if study.name in optuna.get_all_study_names(storage):
            log = optuna.load_study(study_name=study.name, storage=storage)
        else:
            log = optuna.create_study(study_name=study.name, storage=storage, direction="maximize")
            log.set_user_attr("question", study.question)
        known = {_identity(trial) for trial in log.get_trials(deepcopy=False)}
        for candidate in turn.candidates:
            result = lookup.result(candidate)
            if result is not None:
                trial = _trial(study, turn, candidate, result)
                if _identity(trial) not in known:
                    log.add_trial(trial)


def _identity(trial: "FrozenTrial") -> tuple[Any, ...]:
    return trial.user_attrs.get("step"), trial.state, trial.value, trial.user_attrs.get("error")


def _trial(
    study: Study, turn: Round, candidate: Candidate, result: Evaluation | Failure
) -> "FrozenTrial":
    from optuna.trial import TrialState, create_trial

    steps = steps_for(candidate, study)
    about: dict[str, Any] = {
        "candidate": candidate.name,
        "encoders": list(candidate.encoders),
        "step": steps[-1].key,
        "steps": {f"{step.kind} {step.slug}": step.key for step in steps},
        "won": turn.decision is not None and turn.decision.winner == candidate.point,
    }
    params, distributions = _parameters(study, candidate)
    if isinstance(result, Failure):
        about["error"] = f"{result.step.kind}: {result.message}"
        state, value = TrialState.FAIL, None
    else:
        about["scores"] = dict(result.scores)
        state, value = TrialState.COMPLETE, result.composite
    return create_trial(
        state=state, value=value, params=params, distributions=distributions, user_attrs=about
    )


def _parameters(study: Study, candidate: Candidate) -> tuple[dict[str, Any], dict[str, Any]]:
    """A candidate's parameters and where each ranges, the latter the same for all of the study."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    designs = [study.base, *study.designs]
    shelf = dict.fromkeys(title for design in designs for title in design.encoders)
    if not isinstance(study.explore, Arms):
        shelf |= dict.fromkeys(study.explore.pool)
    params: dict[str, Any] = {title: title in candidate.encoders for title in shelf}
    ranges: dict[str, Any] = {title: CategoricalDistribution((False, True)) for title in shelf}
    params |= {"fusion": candidate.fusion.name, "round": candidate.round, "seed": candidate.seed}
    ranges |= {
        "fusion": CategoricalDistribution(fusion_zoo.names()),
        "round": IntDistribution(1, MOST),
        "seed": IntDistribution(0, MOST),
    }
    if isinstance(study.explore, Arms):
        params["arm"] = candidate.point
        ranges["arm"] = CategoricalDistribution([arm.name for arm in study.explore.arms])
    return params, ranges


@contextmanager
def _alone(journal: Path) -> Iterator[None]:
    """Keep other drivers out, and drop the line that a killed one left half written.

    The kernel frees this lock when its holder dies; Optuna's own would hold for half a minute.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        whole = journal.read_bytes().rfind(b"\n") + 1
        os.truncate(journal, whole)
        yield


class _Held:
    """The lock Optuna asks for, which `_alone` holds already."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass
