"""The page of fairness: in what compared candidates differ beyond what the study varies."""

from typing import Any

from ablate.reports.fairness import SEVERITIES, fairness
from ablate.reports.model import StudyResult
from ablate.reports.page import ReportPage
from ablate.reports.pages.common import table


def findings(study: StudyResult) -> dict[str, Any]:
    """The linter's findings, the gravest first, and how many there are of each severity."""
    frame = fairness(study)
    severities = frame["severity"].tolist()
    counts = [(severities.count(name), name) for name in SEVERITIES if name in severities]
    parts = [f"{count} {name}{'s' if count > 1 else ''}" for count, name in counts]
    return {
        "sentence": f"{', '.join(parts)}." if parts else "Nothing found.",
        "findings": table(frame, "Findings, the gravest first", "fairness"),
    }


PAGE = ReportPage("Fairness", lambda source: findings(source.study), 60)
