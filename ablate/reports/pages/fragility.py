"""What other benchmarks would have chosen: a part of the pages of results and of the paper."""

from typing import Any

from ablate.reports import fragility as tables
from ablate.reports.model import StudyResult
from ablate.reports.pages.common import downloads, table


def fragility(study: StudyResult, paper: bool = False) -> dict[str, Any]:
    """A table and what it says in words, of the study's choices or of the published ones; empty
    where nothing was chosen, or one benchmark alone was asked.
    """
    choices = study.published_choices if paper else study.choices
    if len(study.tasks) < 2 or not any(len(contest.scores) > 1 for contest in choices):
        return {}
    frame = tables.fragility(study, paper)
    short = table(frame.assign(candidate=tables.labels(study, paper)), tables.caption(study, paper))
    name = "fragility-published" if paper else "fragility"
    return {
        "table": {**short, "downloads": downloads(frame, name, tables.notes(study, paper))},
        "notes": tables.notes(study, paper),
    }
