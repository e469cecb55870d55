"""`STUDY[:CANDIDATE]` as the weights that its training left. Imports pandas, but no torch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ablate.config.study import Study, load_study
from ablate.design import Candidate
from ablate.errors import UserError
from ablate.store.steps import Step, steps_for

if TYPE_CHECKING:
    from ablate.reports.model import CandidateResult, StepResult, StudyResult


class Trained(NamedTuple):
    """A candidate that is trained and scored, by its first seed."""

    config: Study
    study: "StudyResult"
    candidate: "CandidateResult"
    trained: "StepResult"
    """What ended its training, with its weights."""
    evaluation: Step
    """What scores these."""


def trained_candidate(named: str, overrides: Sequence[str]) -> Trained:
    """The candidate, the best of its study where none is named. UserError for one that is not
    scored, or whose weights are gone."""
    from ablate.reports.comparison import BEST, candidate
    from ablate.reports.load import load

    study_name, colon, rest = named.rpartition(":")
    name, wanted = (study_name, rest) if colon else (named, BEST)
    config = load_study(name, overrides)
    study = load(config)
    chosen = candidate(study, wanted)
    evaluation = evaluation_of(config, chosen)
    [ended] = evaluation.trained_parents.values()
    trained = next(step for step in chosen.steps if step.key == ended.key)
    if trained.folder is None or trained.status != "done":
        raise UserError(
            f"the weights of {chosen.name} are gone ({trained.kind} {trained.key[:12]}): remove "
            "its score from the store, too, and run the study again"
        )
    return Trained(config, study, chosen, trained, evaluation)


def evaluation_of(config: Study, chosen: "CandidateResult") -> Step:
    """The step that scores a candidate's first seed."""
    design = {name: value for name, value in chosen.config.items() if name != "seeds"}
    first = Candidate.model_validate(
        {
            **design,
            "name": chosen.name,
            "point": chosen.point,
            "round": chosen.round,
            "seed": chosen.config["seeds"][0],
        }
    )
    return steps_for(first, config)[-1]
