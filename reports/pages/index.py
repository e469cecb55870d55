"""The first page: question, answer, rounds or arms, published numbers, cost, set-up."""

from collections.abc import Mapping
from typing import Any

from ablate.commands.output import duration
from reports import figures, story
from reports.formats import number
from reports.frame import records
from reports.model import CandidateResult, RoundResult, StudyResult
from reports.pages.common import Rows, environment, page_name, text_of, tile
from reports.pages.published import published
from reports.tables import comparison, costs, mark

_COST = ("kind", "steps", "done", "seconds", "share", "device_seconds", "reused", "saved")


def index(study: StudyResult) -> dict[str, Any]:
    """The first page: question, answer, rounds or arms, published numbers, cost, set-up."""
    greedy = study.kind == "rounds"
    scored = any(one.composite is not None for one in study.candidates)
    chart = (figures.greedy_path if greedy else figures.arm_scores)(study) if scored else None
    caption = (
        "Every candidate's score with its 95 % interval; the line joins the winners."
        if greedy
        else "Every arm's score with its 95 % interval."
    )
    cost = costs(study)
    spent = bool(cost["seconds"].sum())
    return {
        "story": story.tell(study),
        "best": study.best,
        "base": study.base,
        "tiles": _tiles(study),
        "figure": figures.svg(chart, "scores", caption) if chart else "",
        "figure_caption": caption,
        "turns": [_turn(study, turn) for turn in study.rounds],
        "optuna": _optuna(study),
        "cost_sentence": _cost_sentence(study),
        "cost_figure": figures.svg(
            figures.where_time_went(study), "cost", "Seconds by kind of step"
        )
        if spent
        else "",
        "cost_heads": [
            ("Step", False),
            *(
                (title, True)
                for title in ("Steps", "Done", "Seconds", "Share, %", "Device seconds")
            ),
            ("Reused", True),
            ("Seconds saved", True),
        ],
        "cost_rows": [[number(row[name], name) for name in _COST] for row in records(cost)],
        "cards": [_card(study, one) for one in study.candidates],
        "setup": _setup(study),
        "published": published(study),
    }


def _turn(study: StudyResult, turn: RoundResult) -> dict[str, Any]:
    frame = comparison(study)
    if study.kind == "rounds":
        frame = frame[frame["round"] == turn.number]
    rows = records(frame)
    tops = {
        title: max((row[title] for row in rows if row[title] is not None), default=None)
        for title in study.tasks.values()
    }
    named = {one.name: one for one in turn.candidates}
    caption = (
        f"Round {turn.number}: {len(rows)} candidate{'s' if len(rows) > 1 else ''}"
        if study.kind == "rounds"
        else f"{len(rows)} arms, held against {study.base.name}"
    )
    failed = (turn.decision or {}).get("failed") or {}
    return {
        "number": turn.number,
        "sentence": story.chose(turn) if study.kind == "rounds" else "",
        "failed": ", ".join(sorted(failed)),
        "caption": caption,
        "rows": [_row(study, row, named[row["candidate"]], tops, len(rows)) for row in rows],
    }


def _row(
    study: StudyResult,
    row: Mapping[str, Any],
    one: CandidateResult,
    tops: Mapping[str, float | None],
    rivals: int,
) -> dict[str, Any]:
    texts = {
        name: number(row[name], name)
        for stem in ("score", "delta")
        for name in (stem, f"{stem}_low", f"{stem}_high")
    }
    tasks = [
        {
            "text": number(row[title], title),
            "top": rivals > 1 and row[title] is not None and row[title] == tops[title],
        }
        for title in study.tasks.values()
    ]
    return {
        **texts,
        "href": f"candidates/{page_name(study, one)}",
        "label": _label(study, one),
        "mark": row["mark"],
        "tasks": tasks,
        "seconds": number(row["seconds"], "seconds"),
        "whisker": _whisker(study, one),
    }


def _label(study: StudyResult, one: CandidateResult) -> str:
    """A candidate in its round: what it adds to the winner before; elsewhere its name."""
    reference = study.reference(one) if study.kind == "rounds" else None
    added = [name for name in one.encoders if reference and name not in reference.encoders]
    return f"+ {', '.join(added)}" if added else one.name


def _whisker(study: StudyResult, one: CandidateResult) -> dict[str, str] | None:
    """The candidate's interval in percent of the range that all intervals of the study span."""
    own = study.scoreboard.score(one)
    if own is None or one.composite is None:
        return None
    every = [found for other in study.candidates if (found := study.scoreboard.score(other))]
    low, high = min(each.low for each in every), max(each.high for each in every)
    scale = 100 / ((high - low) or 1.0)
    ends = {"low": own.low, "middle": one.composite, "high": own.high}
    return {name: f"{(value - low) * scale:.1f}" for name, value in ends.items()}


def _tiles(study: StudyResult) -> list[dict[str, str]]:
    best, tiles = study.best, []
    if best is not None and best.composite is not None:
        own = study.scoreboard.score(best)
        note = f"95 % interval {story.span(own.low, own.high)}" if own else ""
        tiles.append(tile(f"Score on {study.suite}", f"{best.composite:.1f}", note))
        gain = study.scoreboard.difference(best, study.base) if best is not study.base else None
        if gain:
            note = f"95 % interval {story.span(gain.low, gain.high)}"
            tiles.append(tile("Against the base", f"{gain.estimate:+.1f}", note))
        tiles.append(tile("Questions", f"{len(best.answers):,}", _images_note(best)))
    states = [one.status for one in study.candidates]
    note = ", ".join(
        f"{states.count(name)} {name}"
        for name in ("failed", "running", "waiting")
        if name in states
    )
    tiles.append(tile("Candidates scored", f"{states.count('done')} of {len(states)}", note))
    cost = costs(study)
    seconds = sum(step.seconds for step in study.steps.values())
    tiles.append(tile("Work", duration(seconds), f"in {int(cost['done'].sum())} steps"))
    return tiles


def _images_note(one: CandidateResult) -> str:
    return f"on {one.answers['image'].nunique():,} held-out images"


def _card(study: StudyResult, one: CandidateResult) -> dict[str, str]:
    said = f"{one.composite:.1f}" if one.composite is not None else one.status
    standing = mark(study, one)
    line = " · ".join(
        part
        for part in (
            f"round {one.round}" if study.kind == "rounds" else "",
            said,
            standing if standing != said else "",
        )
        if part
    )
    return {"href": f"candidates/{page_name(study, one)}", "name": one.name, "line": line}


def _setup(study: StudyResult) -> Rows:
    ended = [step.record for step in study.steps.values() if step.record]
    return [
        ["Study", study.name],
        ["Suite", f"{study.suite}: {', '.join(study.tasks.values())}"],
        ["Seeds", text_of(study.base.config["seeds"])],
        *(environment(ended[-1]) if ended else []),
    ]


def _cost_sentence(study: StudyResult) -> str:
    spent = sum(step.seconds for step in study.steps.values())
    uses = sum(len(names) for names in study.used_by.values())
    saved = sum(step.seconds * (len(study.used_by[key]) - 1) for key, step in study.steps.items())
    if not spent:
        return "No step has ended yet."
    share = 100 * saved / (spent + saved)
    return (
        f"{len(study.steps)} steps stand for {uses} uses: {duration(spent)} of work. Sharing "
        f"a step between candidates saved {duration(saved)}, {share:.0f} % of what training "
        f"each candidate on its own would have taken."
    )


def _optuna(study: StudyResult) -> str:
    path = study.home / "studies" / study.name / "optuna.journal"
    return path.relative_to(study.home).as_posix() if path.exists() else ""
