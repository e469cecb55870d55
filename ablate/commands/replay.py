"""`ablate replay`: a search over results that are known already, without training."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate import strategies
from ablate.commands.output import columns, emit_json, folded, say
from ablate.config.study import Study, load_study
from ablate.design import Candidate
from ablate.files import home
from ablate.printable import one_line
from ablate.search.replay import Replay, by_point, replay
from ablate.search.tabulated import StoreTable, Table, paper_table
from ablate.store.artifacts import Store
from ablate.strategies import Decision

PAPER, STORE = "paper", "store"


def show(
    name: str,
    overrides: Sequence[str],
    strategy: str | None,
    over: str | None,
    last: int | None,
    as_json: bool,
) -> None:
    """Print what the search finds in rounds 1 to `last`, by its own strategy or another."""
    study = load_study(name, overrides)
    if strategy:
        study = explored_by(strategy, study, name, overrides)
    replayed = replay(table_of(study, over), last)
    if as_json:
        emit_json(as_data(study, replayed))
    else:
        say(folded(as_text(study, replayed)))


def explored_by(strategy: str, study: Study, name: str, overrides: Sequence[str]) -> Study:
    """The study with another strategy, of which it says as much as its own has in common with it.

    Raises UserError where that is not enough.
    """
    fields = strategies.shared_fields(study.explore, strategy)
    return load_study(name, [*overrides, f"explore={json.dumps(fields)}"])


def table_of(study: Study, over: str | None) -> Table:
    """The paper's, the store's, or that of a CSV file; default: the paper's, if the study repeats
    a published table and asks its benchmarks."""
    if over is None:
        repeats = study.published and study.asks.published
        over = PAPER if repeats else STORE
    if over == PAPER:
        return paper_table(study)
    if over == STORE:
        return StoreTable(study, Store(home()))
    from ablate.search.results_csv import read_csv

    return read_csv(Path(over), study)


def as_data(study: Study, replayed: Replay) -> dict[str, Any]:
    """The replay as JSON values, numbers exact."""
    return {
        "study": study.name,
        "strategy": study.explore.kind,
        "source": replayed.table.source,
        "unit": replayed.table.unit,
        "costed": replayed.table.costed,
        "rounds": [
            {
                "round": turn.round,
                "candidates": [
                    {
                        "name": point,
                        "score": replayed.scores.get(point),
                        "hours": replayed.hours(runs),
                    }
                    for point, runs in by_point(turn.candidates).items()
                ],
                "decision": turn.decision and turn.decision.to_json(),
            }
            for turn in replayed.rounds
        ],
        "path": replayed.path,
        "best": _best(replayed.scores),
        "best_tabulated": _best(replayed.tabulated),
        "regret": replayed.regret,
        "looked_at": len(replayed.scores),
        "tabulated": len(replayed.tabulated),
        "hours": replayed.hours(replayed.candidates),
        "hours_of_all": replayed.hours(replayed.table.candidates),
        "notes": list(replayed.table.notes),
    }


def _best(scores: Mapping[str, float]) -> dict[str, Any]:
    name = max(scores, key=lambda name: scores[name])
    return {"name": name, "score": scores[name]}


def as_text(study: Study, replayed: Replay) -> str:
    """The search round by round, then what it came to."""
    table = replayed.table
    return "\n\n".join(
        (
            one_line(f"{study.name}: {study.explore.kind}, over {table.source}"),
            columns(
                ("ROUND", "CANDIDATE", "SCORE", table.unit.upper(), ""), _rows(study, replayed)
            ),
            one_line(_regret(replayed)),
            f"It looked at {len(replayed.scores)} candidates for "
            f"{_hours(replayed, replayed.candidates)} "
            f"{table.unit}; all {len(replayed.tabulated)} that are tabulated take "
            f"{_hours(replayed, table.candidates)} ({table.costed}).",
            *_left_out(replayed),
            *map(one_line, table.notes),
        )
    )


def _left_out(replayed: Replay) -> list[str]:
    """What leads leave out, where that is training noise."""
    decided = [turn.decision for turn in replayed.rounds if turn.decision]
    if not any(decision.interval and decision.tie is None for decision in decided):
        return []
    return [
        "Leads are of single runs and leave training noise out: nobody has measured it, so another "
        "seed may turn them."
    ]


def _rows(study: Study, replayed: Replay) -> Iterator[tuple[object, ...]]:
    """A row a candidate, in the order of the search."""
    before: tuple[str, ...] | None = None
    for turn in replayed.rounds:
        decided = turn.decision
        assert decided is not None  # a replay ends where one is not
        for point, runs in by_point(turn.candidates).items():
            score = decided.scores.get(point)
            part = "" if runs[0].fidelity.is_whole else f" ({runs[0].fidelity.words})"
            note = _goes_on(decided) if point == decided.winner and decided.settled else ""
            yield (
                turn.round,
                study.explore.label(point, runs[0].encoders, before) + part,
                "failed" if score is None else f"{score:.2f}",
                _hours(replayed, runs),
                note or decided.failed.get(point) or decided.mark(point),
            )
        if study.explore.goes_on and decided.settled:
            before = next(
                candidate.encoders
                for candidate in turn.candidates
                if candidate.point == decided.winner
            )


def _regret(replayed: Replay) -> str:
    """The best that was looked at, beside the best there is."""
    best, most = _best(replayed.scores), _best(replayed.tabulated)
    sentence = f"It found {best['name']}, {best['score']:.2f}"
    if replayed.regret <= 0.0:
        return f"{sentence}: the best that is tabulated."
    return (
        f"{sentence}; the best that is tabulated is {most['name']}, {most['score']:.2f}: a "
        f"regret of {replayed.regret:.2f} points."
    )


def _goes_on(decided: Decision) -> str:
    """Who won, how far it is ahead, and whether that is a tie."""
    if decided.difference is None:
        return "best"
    tie = ", a tie with the next" if decided.tie else ""
    return f"best, by {decided.difference:.2f}{tie}"


def _hours(replayed: Replay, candidates: Iterable[Candidate]) -> str:
    return in_hours(replayed.hours(candidates))


def in_hours(hours: float | None) -> str:
    """Hours as they are shown, `?` where they are not known."""
    if hours is None:
        return "?"
    return f"{hours:.2g}" if 0 < hours < 1 else f"{hours:,.{1 if hours < 100 else 0}f}"
