"""The page of cost: where the time went, what sharing steps saved, score against cost."""

from typing import Any

from ablate.commands.output import duration
from reports import figures
from reports.formats import number
from reports.frame import records
from reports.model import StudyResult
from reports.pages.common import Heads
from reports.tables import costs

_COLUMNS = {
    "kind": "Step",
    "steps": "Steps",
    "done": "Done",
    "seconds": "Seconds",
    "share": "Share, %",
    "device_seconds": "Device seconds",
    "reused": "Reused",
    "saved": "Seconds saved",
}


def cost(study: StudyResult) -> dict[str, Any]:
    """Seconds by kind of step, and what sharing them saved."""
    frame = costs(study)
    heads: Heads = [(title, name != "kind") for name, title in _COLUMNS.items()]
    spent = bool(frame["seconds"].sum())
    return {
        "sentence": sentence(study),
        "figure": figures.svg(
            figures.where_time_went(study), "cost", "Seconds by kind of step, and those saved"
        )
        if spent
        else "",
        "heads": heads,
        "rows": [[number(row[name], name) for name in _COLUMNS] for row in records(frame)],
    }


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
