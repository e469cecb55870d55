"""How a round of several turns was decided: who was left behind at which look, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from ablate.reports.model import RoundResult, StudyResult
from ablate.strategies import Decision, Standing


def looks(turn: RoundResult) -> list[Decision]:
    """The looks of a round, in order."""
    return [Decision.from_json(one) for one in turn.looks]


def told(study: StudyResult) -> list[str]:
    """A line a look: at what, who was dropped, and how sure that is."""
    return [
        f"Round {turn.number}, look {n}: {sentence(study, turn, one)}"
        for turn in study.rounds
        for n, one in enumerate(looks(turn), start=1)
    ]


def sentence(study: StudyResult, turn: RoundResult, one: Decision) -> str:
    """What came of a look."""
    assert one.look
    labels = names(study, turn)
    by_mark: dict[str, list[str]] = {}
    for point, standing in one.look.standings.items():
        by_mark.setdefault(standing.mark, []).append(labels.get(point, point))
    of = one.fidelity.words or "trained and asked in full"
    runs = sorted({standing.runs for standing in one.look.standings.values()})
    many = f"{runs[0]} to {runs[-1]}" if runs[0] < runs[-1] else f"{runs[0]}"
    said = f"{of}, {many} run{'s' * (runs[-1] > 1)} each"
    parts = [f"{mark}: {', '.join(points)}" for mark, points in by_mark.items()]
    chance = "" if one.look.correct is None else f"; P(correct) {one.look.correct:.2f}"
    return f"{said}; {'; '.join(parts)}{chance}."


def names(study: StudyResult, turn: RoundResult) -> Mapping[str, str]:
    """Short names of a round's points, those that were trained in part too."""
    every = (*turn.candidates, *turn.partial)
    before = study.reference(every[0]) if study.strategy.goes_on and every else None
    mixture = before.encoders if before else None
    points = {standing for one in looks(turn) if one.look for standing in one.look.standings}
    known = {one.name: one.encoders for one in turn.candidates}
    known |= {
        point: one.encoders
        for one in turn.partial
        for point in points
        if one.name == point or one.name.startswith(f"{point} (")
    }
    return {
        point: study.strategy.label(point, encoders, mixture) for point, encoders in known.items()
    }


def rows(study: StudyResult, turn: RoundResult) -> list[dict[str, Any]]:
    """The looks as tables: of each its heading, its lines, and what they rest on."""
    found = []
    for n, one in enumerate(looks(turn), start=1):
        assert one.look
        labels = names(study, turn)
        found.append(
            {
                "heading": f"Look {n}: {one.fidelity.words or 'in full'}",
                "lines": [
                    _line(labels.get(point, point), standing)
                    for point, standing in one.look.standings.items()
                ],
                "notes": _notes(one),
            }
        )
    return found


def _line(name: str, one: Standing) -> Sequence[str]:
    bound = "" if one.bound is None else f"{one.bound:+.1f}"
    return (
        name,
        str(one.runs),
        f"{one.score:.1f}",
        f"{-one.behind:+.1f}",
        bound,
        one.mark,
        one.why,
    )


def _notes(one: Decision) -> list[str]:
    assert one.look
    risk = (
        f"Of the risk of {one.look.error:.2g} to drop the best of the round it spent "
        f"{one.look.spent:.2g}."
    )
    sure = one.look.correct
    chance = [] if sure is None else [f"The leader is the best with a probability of {sure:.2f}."]
    return [risk, *chance, *one.look.notes]
