"""The first page: question, answer, certainty, the winner, its cost, and how it was made."""

from functools import partial
from typing import Any

from ablate import strategies
from ablate.catalog import plugins
from ablate.humanize import duration
from ablate.reports import figures, story
from ablate.reports.drawing import drawing
from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.page import ReportPage
from ablate.reports.pages.common import ABSENT, Rows, environment, path_of, points, text_of, tile
from ablate.reports.pages.cost import sentence
from ablate.reports.pages.published import standing
from ablate.reports.tables import costs


def index(study: StudyResult) -> dict[str, Any]:
    """The first page."""
    searched = study.strategy.goes_on
    scored = any(candidate.composite is not None for candidate in study.candidates)
    chart = (figures.greedy_path if searched else figures.arm_scores)(study) if scored else None
    caption = f"Every {study.strategy.noun}'s score with its 95 % interval{_part(study)}"
    caption += "" if study.scoreboard.noise else ", training noise not in it"
    caption += "; the line joins the winners" if searched else ""
    caption += f". Hollow: not told apart from the {'winner of its round' if searched else 'best'}."
    return {
        "story": story.tell(study),
        "best": study.best,
        "best_path": path_of(study, study.best) if study.best else "",
        "base": study.base,
        "tiles": _tiles(study),
        "figure": drawing(chart, "scores", caption, partial(points, study)) if chart else None,
        "figure_caption": caption,
        "standing": standing(study),
        "cost": sentence(study),
        "setup": _setup(study),
    }


def _part(study: StudyResult) -> str:
    shown = max((len(turn.candidates) for turn in study.rounds), default=0)
    return f", of more than {figures.ARMS} the best" if shown > figures.ARMS else ""


def _tiles(study: StudyResult) -> list[dict[str, str]]:
    best, tiles = study.best, []
    if best is not None and best.composite is not None:
        interval = study.scoreboard.score(best)
        run = "" if study.scoreboard.noise else ", of this run"
        note = f"95 % interval {story.span(interval.low, interval.high)}{run}" if interval else ""
        tiles.append(tile(f"Score on {study.suite}", f"{best.composite:.1f}", note))
        gain = study.scoreboard.difference(best, study.base) if best is not study.base else None
        if gain:
            note = f"95 % interval {story.span(gain.low, gain.high)}{run}"
            tiles.append(tile("Against the base", f"{gain.estimate:+.1f}", note))
        if best.answered:
            tiles.append(tile("Questions", f"{len(best.runs[0].questions):,}", _images_note(best)))
    states = [candidate.status for candidate in study.candidates]
    note = ", ".join(
        f"{states.count(name)} {name}"
        for name in ("failed", "running", "waiting")
        if name in states
    )
    tiles.append(tile("Candidates scored", f"{states.count('done')} of {len(states)}", note))
    seconds = sum(step.seconds for step in study.steps.values())
    done = int(costs(study)["done"].sum())
    tiles.append(tile("Work", duration(seconds), f"in {done} step{'s' if done != 1 else ''}"))
    return tiles


def _images_note(candidate: CandidateResult) -> str:
    return f"on {len(set(candidate.runs[0].images)):,} held-out images"


def _metrics(study: StudyResult) -> str:
    """What scores which benchmark, by a record of it."""
    results = [step.record.get("result") or {} for step in study.steps.values()]
    scores: dict[str, Any] = next(
        (result["scores"] for result in results if result.get("scores")), {}
    )
    titles: dict[str, list[str]] = {}
    for task, score in scores.items():
        titles.setdefault(score.get("metric", ABSENT), []).append(study.tasks.get(task, task))
    return "; ".join(f"{metric} ({', '.join(named)})" for metric, named in titles.items())


def _setup(study: StudyResult) -> Rows:
    ended = [step.record for step in study.steps.values() if step.record]
    return [
        ["Study", study.name],
        ["Strategy", _strategy(study.strategy.kind)],
        ["Suite", f"{study.suite}: {', '.join(study.tasks.values())}"],
        *([["Metrics", metrics]] if (metrics := _metrics(study)) else []),
        ["Seeds", text_of(study.base.config["seeds"])],
        *(environment(ended[-1]) if ended else []),
    ]


def _strategy(kind: str) -> str:
    """A strategy's name, of another package's also where that one is from."""
    entry = strategies.plug_in(kind)
    if entry is None:
        return kind
    plug_in = plugins.identity(entry)
    return f"{kind}: {plug_in['package']} {plug_in['version']} ({plug_in['sha256'][:8]})"


PAGE = ReportPage("Overview", lambda source: index(source.study), 10)
