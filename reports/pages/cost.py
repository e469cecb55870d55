"""The page of cost: score against cost, where the time went, what sharing steps saved."""

from typing import Any

from ablate.commands.output import duration
from reports import figures
from reports.model import StudyResult
from reports.pages.common import table
from reports.sizes import size
from reports.tables import cost as candidates
from reports.tables import costs


def cost(study: StudyResult) -> dict[str, Any]:
    """Figures and tables of what each candidate costs, and each kind of step."""
    spent = any(step.seconds for step in study.steps.values())
    title = "Seconds by kind of step, and those saved"
    return {
        "sentence": sentence(study),
        "figure": figures.svg(figures.where_time_went(study), "cost", title) if spent else "",
        "steps": table(costs(study), "Steps by kind"),
        "fronts": [_front(study, name) for name in _known(study)],
        "candidates": table(candidates(study), "Candidates: score and cost"),
    }


def _known(study: StudyResult) -> list[str]:
    """The costs in which scored candidates differ: against the others there is nothing to see."""
    sizes = [size(one) for one in study.candidates if one.composite is not None]
    found = {name: {of(one) for one in sizes} - {None} for name, (_, of) in figures.COSTS.items()}
    return [name for name, values in found.items() if len(values) > 1]


def _front(study: StudyResult, name: str) -> dict[str, str]:
    title = f"Score against {figures.COSTS[name][0]}"
    return {"title": title, "svg": figures.svg(figures.pareto(study, name), name, title)}


def sentence(study: StudyResult) -> str:
    """What the study took, and what it would have taken without sharing steps."""
    spent = sum(step.seconds for step in study.steps.values())
    uses = sum(len(names) for names in study.used_by.values())
    saved = sum(step.seconds * (len(study.used_by[key]) - 1) for key, step in study.steps.items())
    if not spent:
        return "No step has ended yet."
    share = 100 * saved / (spent + saved)
    return (
        f"{len(study.steps)} steps stand for {uses} uses: {duration(spent)} of work. Sharing "
        f"a step between candidates saved {duration(saved)}, {share:.0f} % of what training "
        f"each candidate on its own would have taken."
    )
