"""Names beside the points of a figure, none upon another."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from ablate.reports.drawing import INK, LINE, MUTED
from ablate.reports.model import CandidateResult, StudyResult

NAMED = 14
"""Names that find room beside a figure."""
LONGEST = 40
"""Characters of a name in a figure."""
LINES: Any = {
    "arrowstyle": "-",
    "linewidth": 0.7,
    "relpos": (0.0, 0.5),
    "patchA": None,
    "shrinkA": 1.0,
    "shrinkB": 0.0,
}
"""How a name is joined to its point."""


def in_round(study: StudyResult, candidate: CandidateResult) -> str:
    """A candidate's short name; of what a round adds with the round's number in brackets."""
    name = study.label(candidate)
    return cut(name) if name == candidate.name else f"{cut(name)} ({candidate.round})"


def cut(name: str) -> str:
    """A name that leaves room for the figure; its point says it whole."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


class Name(NamedTuple):
    """A name of a point: where that is, whether the name stands out, the colour of the line
    between the two.
    """

    point: tuple[float, float]
    text: str
    strong: bool
    color: str = LINE


def name_beside(axes: Axes, names: Sequence[Name]) -> None:
    """Write the names into a column to the right of `axes`, by height, each joined to its point.

    The line begins beside its name and ends below the point's marker: clipped at either end, lines
    took a third of the time of a report.
    """
    ranked = sorted(names, key=lambda each: (-each.point[1], each.point[0]))
    low, high = axes.get_ylim()
    wished = [(each.point[1] - low) / ((high - low) or 1.0) for each in ranked]
    for name, height in zip(ranked, spread(wished, 1.0 / NAMED), strict=True):
        axes.annotate(
            name.text, name.point, xytext=(1.04, height), textcoords="axes fraction", va="center",
            fontsize=8.5, color=INK if name.strong else MUTED, annotation_clip=False, zorder=1.5,
            arrowprops=LINES | {"color": name.color},
        )  # fmt: skip


def spread(wished: Sequence[float], step: float) -> list[float]:
    """Heights from the highest down, as near as can be to those wished for, a step apart at least.

    All lie within 0 and 1 where there is room.
    """
    heights: list[float] = []
    for height in wished:
        heights.append(min(height, 1.0, *(each - step for each in heights[-1:])))
    floor = 0.0
    for index in reversed(range(len(heights))):
        heights[index] = max(heights[index], floor)
        floor = heights[index] + step
    return heights
