"""How a round of several turns was decided: who was left behind at which look, and why."""

from collections.abc import Mapping, Sequence
from typing import Any

from ablate.reports.model import RoundResult, StudyResult
from ablate.strategies import Decision, Look, Standing


def looks(turn: RoundResult) -> list[tuple[Decision, Look]]:
    """The looks of a round, in order."""
    decisions = [Decision.from_json(look) for look in turn.looks]
    return [(decision, decision.look) for decision in decisions if decision.look]


def look_lines(study: StudyResult) -> list[str]:
    """A line a look: at what, who was dropped, and how sure that is."""
    return [
        f"Round {turn.number}, look {n}: {_sentence(study, turn, decision, look)}"
        for turn in study.rounds
        for n, (decision, look) in enumerate(looks(turn), start=1)
    ]


def left_out(study: StudyResult) -> list[str]:
    """A line a round whose filter left candidates out before they trained: which, and the risk."""
    lines = []
    for turn in study.rounds:
        first = next(iter((*turn.looks, turn.decision or {})))
        if sifted := first.get("filter"):
            before = _before(study, turn)
            points = [
                study.strategy.label(point, point.split("+"), before)
                for point in sifted["left_out"]
            ]
            lines.append(
                f"Round {turn.number}: not trained, as {sifted['proxy']} has them behind its best "
                f"{sifted['keep']}: {', '.join(points)}; {sifted['risk']}."
            )
    return lines


def last(study: StudyResult, turn: RoundResult) -> str:
    """What came of the last look at a round."""
    return _sentence(study, turn, *looks(turn)[-1])


def _sentence(study: StudyResult, turn: RoundResult, decision: Decision, look: Look) -> str:
    labels, by_mark = _labels(study, turn), dict[str, list[str]]()
    for point, standing in _ranked(look):
        by_mark.setdefault(standing.mark, []).append(labels[point])
    runs = sorted(standing.runs for standing in look.standings.values())
    many = f"{runs[0]} to {runs[-1]}" if runs[0] < runs[-1] else f"{runs[0]}"
    part = decision.fidelity.words or "trained and asked in full"
    parts = [f"{part}, {many} run{'s' * (runs[-1] > 1)} each"]
    parts += [f"{mark}: {', '.join(points)}" for mark, points in by_mark.items()]
    parts += [] if look.correct is None else [f"P(correct) {look.correct:.2f}"]
    return f"{'; '.join(parts)}."


def _ranked(look: Look) -> list[tuple[str, Standing]]:
    """The leader first, then by score."""
    every = look.standings.items()
    return sorted(every, key=lambda pair: (pair[1].mark != "leads", -pair[1].score, pair[0]))


def _labels(study: StudyResult, turn: RoundResult) -> Mapping[str, str]:
    """Short names of a round's points, those that were trained in part too."""
    before = _before(study, turn)
    every = (*turn.partial, *turn.candidates)
    return {
        candidate.point: study.strategy.label(candidate.point, candidate.encoders, before)
        for candidate in every
    }


def _before(study: StudyResult, turn: RoundResult) -> Sequence[str] | None:
    """The mixture that candidates of a round are told by, where the best of a round goes on."""
    first = next(iter((*turn.partial, *turn.candidates)))
    reference = study.reference(first) if study.strategy.goes_on else None
    return reference.encoders if reference else None


def rows(study: StudyResult, turn: RoundResult) -> list[dict[str, Any]]:
    """The looks as tables: of each its heading, its lines, and what they rest on."""
    labels = _labels(study, turn) if turn.looks else {}
    return [
        {
            "heading": f"Look {n}: {decision.fidelity.words or 'in full'}",
            "lines": [_line(labels[point], standing) for point, standing in _ranked(look)],
            "notes": _notes(look),
        }
        for n, (decision, look) in enumerate(looks(turn), start=1)
    ]


def _line(name: str, standing: Standing) -> tuple[str, ...]:
    leads = standing.mark == "leads"
    behind = "" if leads else f"{-standing.behind:+.1f}"
    bound = "" if leads or standing.bound is None else f"{standing.bound:+.1f}"
    return (
        name,
        str(standing.runs),
        f"{standing.score:.1f}",
        behind,
        bound,
        standing.mark,
        standing.why,
    )


def _notes(look: Look) -> list[str]:
    error, spent, sure = look.error, look.spent, look.correct
    risk = "Of the risk of {:.2g} to drop the best of the round it spent {:.2g}."
    return [
        *([risk.format(error, spent)] if spent else []),
        *([] if sure is None else [f"The leader is the best with a probability of {sure:.2f}."]),
        *look.notes,
    ]
