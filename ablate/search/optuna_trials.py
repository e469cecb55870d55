"""What of a study is shown as trials in an Optuna storage, and how far each has come."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import fusion_zoo
from ablate.config.study import Study
from ablate.design import Candidate
from ablate.parsing.validation import SEEDS
from ablate.search.costs import cost_of
from ablate.store.results import Evaluation, Failure, Lookup
from ablate.store.steps import Texts, steps_for
from ablate.strategies import OptunaView, Outcome, Round

MOST = 2**31 - 1


@dataclass(frozen=True)
class Shown:
    """A trial as it shall stand in the storage. `state`: as Optuna calls it; `values`: in the order
    of the objectives; `reported`: by step; `about`: its attributes."""

    params: Mapping[str, Any]
    state: str
    values: tuple[float, ...] = ()
    reported: Mapping[int, float] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


class Trials(Protocol):
    """How a study is shown. `address`: `journal`, or that of a database; `objectives`: directions
    by name."""

    address: str
    objectives: Mapping[str, str]

    def distributions(self) -> Mapping[str, Any]:
        """Where each parameter ranges, the same for all of the study."""

    def shown(self, turns: Iterable[Round], lookup: Lookup) -> list[Shown]:
        """What there is to show of these turns, in an order that stays."""


class Searched:
    """The decided candidates of any search: one trial each.

    A trial's value is the composite (a failed candidate's trial is FAIL, with the reason). Its
    parameters: for each encoder of the study whether it is in the mixture, the fusion, the seed,
    the round. Its attributes: the candidate's name and point,
    mixture, step keys, score of each task, and whether its point won the round.
    """

    address = "journal"
    objectives: Mapping[str, str] = {"score": "maximize"}

    def __init__(self, study: Study) -> None:
        self.study, self._texts = study, Texts()
        self._shelf = list(dict.fromkeys((*study.base.encoders, *study.shelf)))

    def distributions(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, IntDistribution

        ranges: dict[str, Any] = {
            title: CategoricalDistribution((False, True)) for title in self._shelf
        }
        return ranges | {
            "fusion": CategoricalDistribution(fusion_zoo.names()),
            "round": IntDistribution(1, MOST),
            "seed": IntDistribution(0, SEEDS),
        }

    def shown(self, turns: Iterable[Round], lookup: Lookup) -> list[Shown]:
        ended = (
            (turn, candidate, lookup.result(candidate))
            for turn in turns
            for candidate in turn.candidates
            if turn.decision
        )
        return [self._trial(turn, candidate, result) for turn, candidate, result in ended if result]

    def _trial(self, turn: Round, candidate: Candidate, result: Evaluation | Failure) -> Shown:
        about = _about(self.study, candidate, self._texts)
        about["won"] = turn.mark(candidate.point) == "winner"
        params: dict[str, Any] = {title: title in candidate.encoders for title in self._shelf}
        params |= {
            "fusion": candidate.fusion.name,
            "round": candidate.round,
            "seed": candidate.seed,
        }
        if isinstance(result, Failure):
            return Shown(params, "FAIL", about=about | {"error": _reason(result)})
        about["scores"] = dict(result.scores)
        if not candidate.fidelity.is_whole:  # no value to hold against those of whole ones
            about["fidelity"] = candidate.fidelity.words
            return Shown(params, "PRUNED", about=about)
        return Shown(params, "COMPLETE", (result.composite,), about=about)


@dataclass(frozen=True)
class _Tried:
    """What a turn tries of a point: its candidates, each with how it ended, if it has."""

    turn: Round
    runs: list[tuple[Candidate, Evaluation | Failure | None]]

    @property
    def sign(self) -> object:
        """What changes when something happens to it."""
        ends = [
            result.key
            if isinstance(result, Evaluation)
            else result and (result.step.key, result.message)
            for _, result in self.runs
        ]
        return self.turn.number, ends, self.turn.decision is None


class ProposedTrials:
    """The trials that Optuna proposed, also those at work: one of all that is tried of a point."""

    def __init__(self, study: Study, view: OptunaView) -> None:
        self.study, self.view, self._texts = study, view, Texts()
        self.address, self.objectives = view.storage, view.objectives
        self._made: dict[str, tuple[list[object], Shown]] = {}

    def distributions(self) -> Mapping[str, Any]:
        return self.view.distributions()

    def shown(self, turns: Iterable[Round], lookup: Lookup) -> list[Shown]:
        tried: dict[str, list[_Tried]] = {}
        for turn in turns:
            for candidate in () if turn.provisional else turn.candidates:
                turns_of_point = tried.setdefault(candidate.point, [])
                if not turns_of_point or turns_of_point[-1].turn is not turn:
                    turns_of_point.append(_Tried(turn, []))
                turns_of_point[-1].runs.append((candidate, lookup.result(candidate)))
        return [self._shown(point, turns_of_point) for point, turns_of_point in tried.items()]

    def _shown(self, point: str, tried: Sequence["_Tried"]) -> Shown:
        """A trial as long as nothing has happened to it is what it was."""
        sign = [entry.sign for entry in tried]
        if point not in self._made or self._made[point][0] != sign:
            self._made[point] = sign, self._trial(point, tried)
        return self._made[point][1]

    def _trial(self, point: str, tried: Sequence["_Tried"]) -> Shown:
        about = _about(self.study, tried[-1].runs[0][0], self._texts)
        params = self.view.params[point]
        reported: dict[int, float] = {}
        for turn, runs in ((entry.turn, entry.runs) for entry in tried):
            failed = [result for _, result in runs if isinstance(result, Failure)]
            if failed:
                reason = {"error": _reason(failed[0])}
                return Shown(params, "FAIL", reported=reported, about=about | reason)
            outcomes = [
                Outcome(candidate, result, cost=partial(cost_of, self.study, candidate))
                for candidate, result in runs
                if isinstance(result, Evaluation)
            ]
            if len(outcomes) < len(runs):
                break
            reported |= self.view.reported(outcomes)
            if runs[0][0].fidelity.is_whole:
                values = self.view.values(outcomes)
                return Shown(params, "COMPLETE", values, reported, about)
            look = turn.decision.look if turn.decision else None
            if look and point not in look.open:
                return Shown(params, "PRUNED", reported=reported, about=about)
        return Shown(params, "RUNNING", reported=reported, about=about)


def _about(study: Study, candidate: Candidate, texts: Texts) -> dict[str, Any]:
    """What else is told of a candidate."""
    steps = steps_for(candidate, study, texts)
    return {
        "candidate": candidate.name,
        "point": candidate.point,
        "encoders": list(candidate.encoders),
        "step": steps[-1].key,
        "steps": {step.label: step.key for step in steps},
    }


def _reason(failure: Failure) -> str:
    return f"{failure.step.name}: {failure.message}"
