"""Part of the preflight: every objective of a study, on logits that are drawn."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ablate.catalog.objectives import OBJECTIVES
from ablate.data.batch import IGNORE_INDEX
from ablate.errors import UserError
from ablate.preflight.problems import from_error
from ablate.preflight.step import Problem
from ablate.train.objectives import Objective

if TYPE_CHECKING:
    from ablate.worker.context import StepContext


def check_objectives(ctx: "StepContext") -> Iterator[Problem]:
    """A loss that is a finite number with a gradient, and weights of samples."""
    for objective in ctx.spec["objectives"]:
        try:
            try_objective(objective)
        except Exception as error:  # whatever a plug-in raises
            remedy = "mend it, or leave it out of the study"
            yield from_error(f"objective '{objective['name']}'", error, remedy)


def try_objective(given: dict[str, Any]) -> None:
    """UserError where its loss of two answers, of 1 and 3 tokens, can train nothing."""
    objective: Objective = OBJECTIVES.build(**given)
    targets = torch.tensor([[IGNORE_INDEX, IGNORE_INDEX, 2], [0, 1, 2]])
    logits = torch.linspace(-1, 1, 24).view(2, 3, 4).requires_grad_()
    before = [logits.detach().flip(0)] if objective.of_pairs else []
    if objective.of_experts:  # of two images and two experts
        loss = objective(logits[:, 0, :2], torch.linspace(0, 1, 6).view(2, 3))
    else:
        loss = objective(logits, targets, *before)
    if loss.shape != () or not torch.isfinite(loss) or not loss.requires_grad:
        raise UserError(f"its loss is {loss}; a single finite number with a gradient is needed")
    weights = objective.weights(np.array([1, 3]))
    if weights.shape != (2,) or not (np.isfinite(weights).all() and weights.sum() > 0):
        raise UserError(f"its weights of two samples are {weights}; two numbers are needed")
