"""What a study found, in sentences: the answer, how certain it is, and what is still missing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ablate.humanize import count
from ablate.reports import looks
from ablate.reports.model import CandidateResult, RoundResult, StudyResult
from ablate.reports.significance import covered, differences, standing, unread
from ablate.reports.sizes import size
from ablate.stats.significance import ALPHA
from ablate.store.results import told_apart


@dataclass(frozen=True)
class Story:
    """`answer`: one sentence; `certainty`: sentences; `missing`: what is not done, or failed."""

    answer: str
    certainty: tuple[str, ...]
    missing: tuple[str, ...]


def tell(study: StudyResult) -> Story:
    """The story of a study, also of one that runs or failed."""
    best = study.best
    if best is None or best.composite is None:
        return Story("No candidate is scored yet.", (), _missing(study))
    sure = _rounds_certainty(study) if study.strategy.goes_on else ()
    certainty = (*sure, *covered(study.scoreboard), *unread(study))
    return Story(_answer(study, best), certainty, _missing(study))


def brief(study: StudyResult) -> dict[str, str]:
    """What the end of a run tells: the `answer`, `how sure` that is, and the `cost`."""
    board, best = study.scoreboard, study.best
    sentences = {"answer": tell(study).answer}
    if best is None:
        return sentences
    if board.questions:
        asked = f"{len(board.questions):,} questions on {board.sample.images:,} images."
        sentences["how sure"] = " ".join([asked, *covered(board), *unread(study)])
    size_of_best, first = size(best), size(study.base)
    minutes = sum(step.device_seconds for step in study.steps.values()) / 60
    on = (
        "GPU"
        if any(step.record.get("device") == "cuda" for step in study.steps.values())
        else "CPU"
    )
    took = f"{minutes:.1f} {on}-minutes" if minutes < 60 else f"{minutes / 60:,.1f} {on}-hours"
    sentences["cost"] = f"{took} for {len(study.steps)} steps."
    if size_of_best.parameters and size_of_best.visual_tokens:
        than = (
            f" (base: {count(first.parameters)})"
            if first.parameters and best is not study.base
            else ""
        )
        sentences["cost"] += (
            f" {best.name} has {count(size_of_best.parameters)} parameters{than} and makes "
            f"{size_of_best.visual_tokens:,} visual tokens of an image."
        )
    return sentences


def mixture(candidate: CandidateResult) -> str:
    """`a + b fused by channel_concat`, or just `a` for a single encoder."""
    names = " + ".join(candidate.encoders)
    return f"{names}, fused by {candidate.fusion}" if len(candidate.encoders) > 1 else names


def span(low: float, high: float) -> str:
    """An interval in words, `-0.8 to 1.6`."""
    return f"{low:.1f} to {high:.1f}"


def chose(study: StudyResult, turn: RoundResult) -> str:
    """How a round was decided, in a sentence; it says so when it is a tie."""
    decision = turn.decision
    if not decision:
        return "Not decided yet."
    if decision.get("look"):
        last_look = looks.last(study, turn)
        return f"{decision['winner']} goes on, from {len(turn.looks)} looks; the last: {last_look}"
    if not decision.get("runner_up"):
        return f"{decision['winner']} is the only candidate."
    ahead = f"{decision['winner']} is ahead of {decision['runner_up']} by {_gap(study, turn)}"
    unseen = f" {' '.join(unread(study, turn.winner))}".rstrip()
    if turn.winner and len(alike := _leaders(study, turn, turn.winner)) > 1:
        names = _listed([candidate.name for candidate in alike])
        return f"{names} are a tie. {ahead} and goes on, by {decision['rule']}.{unseen}"
    if study.scoreboard.noise is None:
        last_look = f"{ahead} in this run, more than the choice of questions explains. {UNKNOWN}"
        return last_look + unseen
    return f"{ahead}, more than chance.{unseen}"


UNKNOWN = "What another training run would change is not known."
"""Said of a difference of single runs, where nothing was trained twice."""


def _gap(study: StudyResult, turn: RoundResult) -> str:
    """The lead of a decided round's winner, as the tables have it or as it was decided."""
    decision = turn.decision or {}
    runner_up = turn.named(decision["runner_up"])
    difference = turn.winner and study.scoreboard.difference(turn.winner, runner_up)
    low, high = (difference.low, difference.high) if difference else decision["interval"]
    lead = difference.estimate if difference else decision["difference"]
    return f"{lead:+.1f} points (95 % interval {span(low, high)})"


def _leaders(study: StudyResult, turn: RoundResult, best: CandidateResult) -> list[CandidateResult]:
    """The best of a round (or arms) and all that are not told apart from it.

    In the order of the study, which no seed changes, as it may change who is first among them.
    """
    return [
        candidate
        for candidate in turn.candidates
        if candidate is best or standing(study, candidate) == "tie"
    ]


NAMED = 4
"""Candidates that are named in a sentence."""


def _listed(names: Sequence[str], last: str = "and") -> str:
    """`a, b and c`; of many the first and how many more."""
    shown, rest = list(names[:NAMED]), len(names) - NAMED
    shown += [f"{rest} more"] if rest > 0 else []
    return f"{', '.join(shown[:-1])} {last} {shown[-1]}"


def _answer(study: StudyResult, best: CandidateResult) -> str:
    so_far = "" if study.complete else "So far, "
    turn = next(turn for turn in study.rounds if best in turn.candidates)
    leaders = _leaders(study, turn, best)
    known = study.scoreboard.noise is not None
    if len(leaders) > 1:
        tie = _tied(study, leaders)
        verb = "score highest" if known else "scored highest in this run"
        head = f"{so_far}{tie} {verb}, a tie"
        if study.base in leaders:
            return f"{head}: nothing tried is told apart from the base."
    else:
        interval = study.scoreboard.score(best)
        score = f"{best.composite:.1f}" + (
            f" ({span(interval.low, interval.high)})" if interval else ""
        )
        verb = "scores highest" if known else "scored highest in this run"
        head = f"{so_far}{_called(study, best)} {verb}, {score}"
    if best is study.base:
        return f"{head}{': nothing tried scored higher.' if study.complete else '.'}"
    rivals = [
        best,
        *(candidate for candidate in study.candidates if candidate not in (best, study.base)),
    ]
    lead, p = differences(study, [(candidate, study.base) for candidate in rivals])[0]
    if lead is None:
        return f"{head}."
    if study.scoreboard.is_clear(p):
        sure = "more than the choice of test questions and training noise can explain"
    elif p is not None and p < ALPHA:
        sure = f"more than the choice of test questions can explain. {UNKNOWN.removesuffix('.')}"
    elif lead.tie:
        sure = "less than this test can tell from chance"
    else:
        sure = f"no more than chance may give the best of {len(rivals)} candidates"
    of = "the highest of them " if len(leaders) > 1 else ""
    return (
        f"{head}: {of}{lead.estimate:+.1f} points against {study.base.name} "
        f"(95 % interval {span(lead.low, lead.high)}), {sure}."
    )


def _tied(study: StudyResult, leaders: Sequence[CandidateResult]) -> str:
    """Each with its score; of mixtures that have encoders in common these are said once."""
    scores = [f" ({candidate.composite:.1f})" for candidate in leaders]
    common = [
        title
        for title in leaders[0].encoders
        if all(title in candidate.encoders for candidate in leaders)
    ]
    others = [
        [title for title in candidate.encoders if title not in common] for candidate in leaders
    ]
    alike = study.strategy.goes_on and len({candidate.fusion for candidate in leaders}) == 1
    if not (alike and common and all(others)):
        names = [_called(study, candidate) for candidate in leaders]
        return _listed([name + score for name, score in zip(names, scores, strict=True)])
    added = [
        " + ".join(names_added) + score for names_added, score in zip(others, scores, strict=True)
    ]
    return f"{' + '.join(common)} with {_listed(added, 'or')}, fused by {leaders[0].fusion},"


def _called(study: StudyResult, candidate: CandidateResult) -> str:
    return mixture(candidate) if study.strategy.goes_on else candidate.name


def _rounds_certainty(study: StudyResult) -> tuple[str, ...]:
    """Each later winner against the one before it, and whom it is a tie with."""
    lines = []
    for turn in study.rounds[1:]:
        if turn.winner is None:
            continue
        rivals = [
            turn.winner,
            *(candidate for candidate in turn.candidates if candidate is not turn.winner),
        ]
        step, p = differences(
            study, [(candidate, study.reference(candidate)) for candidate in rivals]
        )[0]
        if step is None or p is None:
            continue
        verdict = "no difference it can tell"
        if p < ALPHA:
            verdict = "a gain" if step.estimate > 0 else "a loss"
        if p < ALPHA and not study.scoreboard.is_clear(p):
            verdict = "more than the choice of questions explains, in this run"
        ties = len(_leaders(study, turn, turn.winner)) - 1
        lines.append(
            f"Round {turn.number} changed the score by {step.estimate:+.1f} "
            f"({span(step.low, step.high)}): {verdict}"
            + (f"; its winner is a tie with {ties} of the round." if ties else ".")
        )
    return tuple(lines)


def _missing(study: StudyResult) -> tuple[str, ...]:
    return (*told_apart(study.older), *_undone(study))


MOST = 4
"""Steps at work that are named."""


def _undone(study: StudyResult) -> tuple[str, ...]:
    lines = []
    failed = [candidate.name for candidate in study.candidates if candidate.status == "failed"]
    scored = sum(candidate.status == "done" for candidate in study.candidates)
    if not study.complete:
        total = len(study.candidates)
        lines.append(f"This study is not finished: {scored} of {total} candidates are scored.")
    if at_work := [step for step in study.steps.values() if step.status == "running"]:
        now = time.strftime("%H:%M")
        progress = ", ".join(f"{step.name} {step.slug} ({step.far})" for step in at_work[:MOST])
        more = f", and {len(at_work) - MOST} more" if len(at_work) > MOST else ""
        lines.append(f"At work at {now}: {progress}{more}.")
    if failed:
        lines.append(f"Failed: {', '.join(failed)}. Each one's page holds the reason.")
    return tuple(lines)
