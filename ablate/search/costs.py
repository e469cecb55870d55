"""What a candidate takes, as a search may weigh it against the score. Estimates, so that they are
the same wherever and whenever it is asked."""

from ablate.config.study import Study
from ablate.cost import estimate
from ablate.cost.hours import HoursOfSteps, together
from ablate.design import Candidate
from ablate.errors import UserError

GPU = "a100"
"""Whose hours are meant."""


def cost_of(study: Study, candidate: Candidate, what: str) -> float:
    """Of a candidate: `visual_tokens` an image becomes, `parameters` of its model, or `gpu_hours`
    of all its steps, whoever shares them, as `ablate plan` estimates them.

    Raises UserError where that is not known.
    """
    if what == "gpu_hours":
        hours = together([HoursOfSteps(study, estimate.GPUS[GPU])(candidate)])
        if hours is None:
            raise UserError(
                f"explore.objectives.gpu_hours: nobody knows how long {candidate.point} trains: "
                "give its stages steps, or its data the number of its rows"
            )
        return hours
    model = estimate.model_cost(candidate, estimate.usual_size(study, candidate))
    return float({"visual_tokens": model.visual_tokens, "parameters": model.parameters}[what])
