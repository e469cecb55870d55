"""What other benchmarks would have chosen: a part of the pages of results and of the paper."""

from typing import Any

from ablate.reports import fragility as found
from ablate.reports.model import StudyResult
from ablate.reports.pages.common import downloads, table


def fragility(study: StudyResult, paper: bool = False) -> dict[str, Any]:
    """A table and what it says in words, of the study's choices or of the published ones; empty
    where nothing was chosen, or one benchmark alone was asked.
    """
    choices = study.published_choices if paper else study.choices
    if len(study.tasks) < 2 or not any(len(one.scores) > 1 for one in choices):
        return {}
    frame = found.fragility(study, paper)
    short = table(frame.assign(candidate=found.labels(study, paper)), found.caption(study, paper))
    name = "fragility-published" if paper else "fragility"
    return {
        "table": {**short, "downloads": downloads(frame, name, found.notes(study, paper))},
        "notes": found.notes(study, paper),
    }
