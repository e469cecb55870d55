"""What a study found, in sentences: the answer, how certain it is, and what is still missing."""

from dataclasses import dataclass

from ablate.reports.model import CandidateResult, RoundResult, StudyResult
from ablate.reports.significance import covered, differences, standing
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
    sure = _rounds_certainty(study) if study.kind == "rounds" else ()
    return Story(_answer(study, best), (*sure, covered(study)), _missing(study))


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
    if not decision.get("runner_up"):
        return f"{decision['winner']} is the only candidate."
    low, high = decision["interval"]
    gap = f"{decision['difference']:+.1f} points (95 % interval {span(low, high)})"
    if ties := _ties(study, turn):
        return (
            f"{decision['winner']} is ahead of {decision['runner_up']} by {gap}: a tie with "
            f"{ties} of the round, chosen by {decision['rule']}."
        )
    return f"{decision['winner']} beats {decision['runner_up']} by {gap}."


def _ties(study: StudyResult, turn: RoundResult) -> int:
    """How many candidates of the round (or arms) are not told apart from its best."""
    return sum(standing(study, one) == "tie" for one in turn.candidates)


def _answer(study: StudyResult, best: CandidateResult) -> str:
    own = study.scoreboard.score(best)
    score = f"{best.composite:.1f}" + (f" ({span(own.low, own.high)})" if own else "")
    so_far = "" if study.complete else "So far, "
    name = mixture(best) if study.kind == "rounds" else best.name
    if ties := _ties(study, next(turn for turn in study.rounds if best in turn.candidates)):
        score += f", a tie with {ties} other{'s' if ties > 1 else ''}"
    if best is study.base:
        tried = ": nothing tried beats the base." if study.complete else "."
        return f"{so_far}{name} scores best, {score}{tried}"
    rivals = [best, *(one for one in study.candidates if one not in (best, study.base))]
    gain, p = differences(study, [(one, study.base) for one in rivals])[0]
    if gain is None:
        return f"{so_far}{name} scores best, {score}."
    if p is not None and p < ALPHA:
        sure = "more than the choice of test questions can explain"
    elif gain.tie:
        sure = "less than this test can tell from chance"
    else:
        sure = f"no more than chance may give the best of {len(rivals)} candidates"
    return (
        f"{so_far}{name} scores best, {score}: {gain.estimate:+.1f} points against "
        f"{study.base.name} (95 % interval {span(gain.low, gain.high)}), {sure}."
    )


def _rounds_certainty(study: StudyResult) -> tuple[str, ...]:
    """Each later winner against the one before it, and whom it is a tie with."""
    lines = []
    for turn in study.rounds[1:]:
        if turn.winner is None:
            continue
        rivals = [turn.winner, *(one for one in turn.candidates if one is not turn.winner)]
        step, p = differences(study, [(one, study.reference(one)) for one in rivals])[0]
        if step is None or p is None:
            continue
        verdict = "no difference it can tell"
        if p < ALPHA:
            verdict = "a gain" if step.estimate > 0 else "a loss"
        ties = _ties(study, turn)
        lines.append(
            f"Round {turn.number} changed the score by {step.estimate:+.1f} "
            f"({span(step.low, step.high)}): {verdict}"
            + (f"; its winner is a tie with {ties} of the round." if ties else ".")
        )
    return tuple(lines)


def _missing(study: StudyResult) -> tuple[str, ...]:
    return (*told_apart(study.older), *_undone(study))


def _undone(study: StudyResult) -> tuple[str, ...]:
    lines = []
    failed = [one.name for one in study.candidates if one.status == "failed"]
    scored = sum(one.status == "done" for one in study.candidates)
    if not study.complete:
        total = len(study.candidates)
        lines.append(f"This study is not finished: {scored} of {total} candidates are scored.")
    if failed:
        lines.append(f"Failed: {', '.join(failed)}. Each one's page holds the reason.")
    return tuple(lines)
