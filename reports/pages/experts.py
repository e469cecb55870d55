"""The page of experts: what each adds, which benchmarks it moves, which pairs go together."""

from typing import Any

from reports import figures
from reports.contributions import contributions, moves, pairs
from reports.model import StudyResult
from reports.pages.common import table


def experts(study: StudyResult) -> dict[str, Any]:
    """What the mixtures that were trained tell of each expert, and what they do not."""
    frame = contributions(study)
    told = not frame.empty and bool(frame["added"].notna().any())
    title = "What each expert adds, and its Shapley value or the bounds of it"
    return {
        "figure": figures.svg(figures.contributions(study), "experts", title) if told else "",
        "figure_caption": title,
        "added": table(frame, "What each expert adds, in points"),
        "moves": table(moves(study), "By benchmark"),
        "pairs": table(pairs(study), "Two experts together"),
    }
