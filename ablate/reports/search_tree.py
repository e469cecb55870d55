"""A search as a tree of all its candidates: one published, with ours over it, and our own."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ablate.catalog.published import Row, Table
from ablate.config.published_rows import mixture_row
from ablate.reports.drawing import ACCENT, INK, LINE, MUTED, PAPER, STYLE, WIDTH
from ablate.reports.labels import cut, spread
from ablate.reports.model import StudyResult

LINE_OF_TEXT = 0.065
"""How far apart two names stand at least, as a share of a tree's height."""


class Node(NamedTuple):
    """A mixture: how many encoders, its score, what it adds, and the mixture it adds that to."""

    size: int
    score: float
    added: str
    before: str | None


@matplotlib.rc_context(STYLE)
def search_trees(study: StudyResult, table: Table) -> Figure:
    """Above, the published search, and the mixtures of it that ours scored (rings) and chose
    (line); below, once there is one, our own. Two scales, for they are not comparable.
    """
    theirs, ours = published_tree(table), our_tree(study)
    figure = Figure(figsize=(WIDTH, 5.6 if ours else 3.0), layout="constrained")
    FigureCanvasSVG(figure)
    above, *below = figure.subplots(1 + bool(ours), 1, sharex=True, squeeze=False)[:, 0]
    _draw(above, theirs, path(theirs), MUTED)
    rows = {name: row for name, row in our_rows(study, table).items() if row in theirs}
    if tried := [theirs[row] for name, row in rows.items() if name in ours]:
        ring = {"markersize": 10, "markerfacecolor": "none"}
        above.plot(*_places(tried), "o", color=ACCENT, label="tried here", **ring)
        chosen = [
            theirs[rows[candidate.name]] for candidate in study.winners if candidate.name in rows
        ]
        above.plot(*_places(chosen), "--", color=ACCENT, linewidth=1.6, label="chosen here")
        above.legend(loc="lower right", fontsize=8)
    above.set_title(f"published: {table.lead}", fontsize=9, loc="left", color=INK)
    for axes in below:
        _draw(
            axes,
            ours,
            [candidate.name for candidate in study.winners if candidate.name in ours],
            ACCENT,
        )
        axes.set_title(f"here: {study.suite} score", fontsize=9, loc="left", color=INK)
    last = [above, *below][-1]
    last.set_xlabel("encoders")
    sizes = sorted({node.size for tree in (theirs, ours) for node in tree.values()})
    last.set_xticks(sizes)
    last.set_xlim(sizes[0] - 0.4, sizes[-1] + 1.1)
    return figure


def published_tree(table: Table) -> dict[str, Node]:
    """The rows that are mixtures and have a leading score, by name; each hangs on the best row of
    one encoder less that it holds.
    """
    lead = table.lead or ""
    scores = {row: table.cell(row.name, lead) for row in table.rows if row.encoders}
    nodes = {}
    for row, score in scores.items():
        if score is None:
            continue
        smaller = [
            smaller_row
            for smaller_row in scores
            if _within(smaller_row, row) and scores[smaller_row] is not None
        ]
        before = max(smaller, key=lambda smaller_row: scores[smaller_row] or 0.0, default=None)
        new = [name for name in row.encoders if not before or name not in before.encoders]
        added = f"+ {', '.join(new)}" if before else " + ".join(new)
        nodes[row.name] = Node(len(row.encoders), score, added, before.name if before else None)
    return nodes


def _within(smaller: Row, row: Row) -> bool:
    """Whether `row` is `smaller` and an encoder more."""
    return len(row.encoders) == len(smaller.encoders) + 1 and set(smaller.encoders) < set(
        row.encoders
    )


def our_tree(study: StudyResult) -> dict[str, Node]:
    """Our scored candidates by name; each hangs on the winner of the round before."""
    nodes = {}
    for candidate in study.candidates:
        if candidate.composite is not None:
            before = study.reference(candidate)
            new = [
                title for title in candidate.encoders if not before or title not in before.encoders
            ]
            names = [title.partition("@")[0] for title in new]
            added = f"+ {', '.join(names)}" if before else " + ".join(names)
            nodes[candidate.name] = Node(
                len(candidate.encoders), candidate.composite, added, before.name if before else None
            )
    return nodes


def our_rows(study: StudyResult, table: Table) -> dict[str, str]:
    """The published mixtures that our candidates are, by the names of these."""
    published = {
        candidate.name: mixture_row(table, candidate.encoders) for candidate in study.candidates
    }
    return {name: row.name for name, row in published.items() if row}


def path(tree: Mapping[str, Node]) -> list[str]:
    """The best mixture of each size, in order."""
    best: dict[int, str] = {}
    for name, node in tree.items():
        if node.size not in best or node.score > tree[best[node.size]].score:
            best[node.size] = name
    return [best[size] for size in sorted(best)]


def _draw(axes: Axes, tree: Mapping[str, Node], chosen: Sequence[str], color: str) -> None:
    for name, node in tree.items():
        before = tree.get(node.before or "")
        if before:
            axes.plot([before.size, node.size], [before.score, node.score], color=LINE, zorder=1)
        won = name in chosen
        axes.plot(
            [node.size], [node.score], "o", color=color, zorder=3, markersize=5,
            markerfacecolor=color if won else PAPER,
        )  # fmt: skip
    axes.plot(*_places([tree[name] for name in chosen]), color=color, linewidth=1.6, zorder=2)
    axes.margins(y=0.12)
    low, high = axes.get_ylim()
    for size in {node.size for node in tree.values()}:
        named = sorted((name for name in tree if tree[name].size == size), key=_height(tree))
        wished = [(tree[name].score - low) / ((high - low) or 1.0) for name in named]
        for name, height in zip(named, spread(wished, LINE_OF_TEXT), strict=True):
            axes.text(
                size + 0.12, low + height * (high - low), cut(tree[name].added), fontsize=7,
                va="center" if tree[name].before else "top",
                color=INK if name in chosen else MUTED,
            )  # fmt: skip


def _height(tree: Mapping[str, Node]) -> Callable[[str], float]:
    return lambda name: -tree[name].score


def _places(nodes: Sequence[Node]) -> tuple[list[int], list[float]]:
    return [node.size for node in nodes], [node.score for node in nodes]
