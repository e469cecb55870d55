"""Decided rounds as trials in an Optuna storage, for `optuna-dashboard` to show.

The storage is a journal file (`optuna-dashboard studies/<id>/optuna.journal` opens it): it needs
no database. It is written anew with every decision, in one write, whole or not at all, so that it
needs no lock either, which a network file system may not have. A trial takes as much of it however
many there are. Optuna itself is imported when there is something to write. Nothing is read back:
the search knows only the store.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fusion_zoo
from ablate.config.study import Study
from ablate.design import Candidate
from ablate.files import write_atomic
from ablate.parsing.validation import SEEDS
from ablate.store.results import Evaluation, Failure, Lookup
from ablate.store.steps import Texts, steps_for
from ablate.strategies import Round

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MOST = 2**31 - 1


def record_rounds(journal: Path, study: Study, turns: Iterable[Round], lookup: Lookup) -> None:
    """Write the candidates of these rounds as trials, in place of what the journal held.

    A trial's value is the composite (a failed candidate's trial is FAIL, with the reason). Its
    parameters: for each encoder of the study whether it is in the mixture, the fusion, the seed,
    the round. Its attributes: the candidate's name and point,
    mixture, step keys, score of each task, and whether its point won the round.
    """
    import optuna
    from optuna.storages import JournalStorage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ended = ((turn, one, lookup.result(one)) for turn in turns for one in turn.candidates)
    made = _Trials(study)
    trials = [made.trial(turn, one, result) for turn, one, result in ended if result]
    backend = _Journal()
    storage = JournalStorage(backend)
    log = optuna.create_study(study_name=study.name, storage=storage, direction="maximize")
    log.set_user_attr("question", study.question)
    log.add_trials(trials)
    lines = (json.dumps(one, separators=(",", ":")) + "\n" for one in backend.logs)
    write_atomic(journal, "".join(lines))


class _Trials:
    """Makes trials of a study's candidates."""

    def __init__(self, study: Study) -> None:
        self.study, self.texts = study, Texts()
        self.shelf = list(dict.fromkeys((*study.base.encoders, *study.shelf)))
        self.ranges = _ranges(self.shelf)

    def trial(
        self, turn: Round, candidate: Candidate, result: Evaluation | Failure
    ) -> "FrozenTrial":
        """The candidate's, with what came of it."""
        from optuna.trial import TrialState, create_trial

        steps = steps_for(candidate, self.study, self.texts)
        about: dict[str, Any] = {
            "candidate": candidate.name,
            "point": candidate.point,
            "encoders": list(candidate.encoders),
            "step": steps[-1].key,
            "steps": {step.label: step.key for step in steps},
            "won": turn.mark(candidate.point) == "winner",
        }
        if not candidate.fidelity.is_whole:
            about["fidelity"] = candidate.fidelity.words
        params: dict[str, Any] = {title: title in candidate.encoders for title in self.shelf}
        params |= {
            "fusion": candidate.fusion.name,
            "round": candidate.round,
            "seed": candidate.seed,
        }
        if isinstance(result, Failure):
            about["error"] = f"{result.step.name}: {result.message}"
            state, value = TrialState.FAIL, None
        else:
            about["scores"] = dict(result.scores)
            state, value = TrialState.COMPLETE, result.composite
            if not candidate.fidelity.is_whole:  # no value to hold against those of whole ones
                state, value = TrialState.PRUNED, None
        ranges = self.ranges
        return create_trial(
            state=state, value=value, params=params, distributions=ranges, user_attrs=about
        )


def _ranges(shelf: Iterable[str]) -> dict[str, Any]:
    """Where each parameter ranges, the same for all of the study."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    ranges: dict[str, Any] = {title: CategoricalDistribution((False, True)) for title in shelf}
    return ranges | {
        "fusion": CategoricalDistribution(fusion_zoo.names()),
        "round": IntDistribution(1, MOST),
        "seed": IntDistribution(0, SEEDS),
    }


class _Journal:
    """A journal in memory, as the storage wants it; a file would be forced to the disk for each
    trial."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.logs += logs
