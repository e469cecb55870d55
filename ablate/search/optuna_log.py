"""Decided rounds as trials in an Optuna storage, for `optuna-dashboard` to show.

The storage is a journal file (`optuna-dashboard studies/<name>/optuna.journal` opens it): it needs
no database. It is written anew with every decision, whole or not at all, so that it needs no lock
either, which a network file system may not have. Optuna itself is imported when there is something
to write. Nothing is read back: the search knows only the store.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fusion_zoo
from ablate.config.study import Arms, Candidate, Study
from ablate.files import drafted
from ablate.parsing.validation import SEEDS
from ablate.search.explore import Round
from ablate.store.results import Evaluation, Failure, Lookup
from ablate.store.steps import steps_for

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MOST = 2**31 - 1


def record_rounds(journal: Path, study: Study, turns: Iterable[Round], lookup: Lookup) -> None:
    """Write the candidates of these rounds as trials, in place of what the journal held.

    A trial's value is the composite (a failed candidate's trial is FAIL, with the reason). Its
    parameters: for each encoder of the study whether it is in the mixture, the fusion, the seed,
    the round, and in a study of arms the arm. Its attributes: the candidate's name, mixture, step
    keys, score of each task, and whether its point won the round.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ended = ((turn, one, lookup.result(one)) for turn in turns for one in turn.candidates)
    trials = [_trial(study, turn, one, result) for turn, one, result in ended if result]
    with drafted(journal) as draft:
        storage = JournalStorage(JournalFileBackend(str(draft), lock_obj=_NoOther()))
        log = optuna.create_study(study_name=study.name, storage=storage, direction="maximize")
        log.set_user_attr("question", study.question)
        log.add_trials(trials)


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
        "seed": IntDistribution(0, SEEDS),
    }
    if isinstance(study.explore, Arms):
        params["arm"] = candidate.point
        ranges["arm"] = CategoricalDistribution([arm.name for arm in study.explore.arms])
    return params, ranges


class _NoOther:
    """The lock Optuna asks for: nobody else knows the draft."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass
