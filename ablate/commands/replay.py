"""`ablate replay`: a search over results that are known already, without training."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablate import strategies
from ablate.catalog import suites
from ablate.commands.output import columns, emit_json, say
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
    found = replay(table_of(study, over), last)
    if as_json:
        emit_json(as_data(study, found))
    else:
        say(as_text(study, found))


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
        repeats = study.published and suites.resolve(study.suite).published
        over = PAPER if repeats else STORE
    if over == PAPER:
        return paper_table(study)
    if over == STORE:
        return StoreTable(study, Store(home()))
    from ablate.search.results_csv import read_csv

    return read_csv(Path(over), study)


def as_data(study: Study, found: Replay) -> dict[str, Any]:
    """The replay as JSON values, numbers exact."""
    return {
        "study": study.name,
        "strategy": study.explore.kind,
        "source": found.table.source,
        "unit": found.table.unit,
        "costed": found.table.costed,
        "rounds": [
            {
                "round": turn.round,
                "candidates": [
                    {"name": point, "score": found.scores.get(point), "hours": found.hours(runs)}
                    for point, runs in by_point(turn.candidates).items()
                ],
                "decision": turn.decision and turn.decision.to_json(),
            }
            for turn in found.rounds
        ],
        "path": found.path,
        "best": _best(found.scores),
        "best_tabulated": _best(found.tabulated),
        "regret": found.regret,
        "looked_at": len(found.scores),
        "tabulated": len(found.tabulated),
        "hours": found.hours(found.candidates),
        "hours_of_all": found.hours(found.table.candidates),
        "notes": list(found.table.notes),
    }


def _best(scores: Mapping[str, float]) -> dict[str, Any]:
    name = max(scores, key=lambda name: scores[name])
    return {"name": name, "score": scores[name]}


def as_text(study: Study, found: Replay) -> str:
    """The search round by round, then what it came to."""
    table = found.table
    return "\n\n".join(
        (
            one_line(f"{study.name}: {study.explore.kind}, over {table.source}"),
            columns(("ROUND", "CANDIDATE", "SCORE", table.unit.upper(), ""), _rows(study, found)),
            one_line(_found(found)),
            f"It looked at {len(found.scores)} candidates for {_hours(found, found.candidates)} "
            f"{table.unit}; all {len(found.tabulated)} that are tabulated take "
            f"{_hours(found, table.candidates)} ({table.costed}).",
            *_left_out(found),
            *map(one_line, table.notes),
        )
    )


def _left_out(found: Replay) -> list[str]:
    """What leads leave out, where that is training noise."""
    decided = [turn.decision for turn in found.rounds if turn.decision]
    if not any(one.interval and one.tie is None for one in decided):
        return []
    return [
        "Leads are of single runs and leave training noise out: nobody has measured it, so another "
        "seed may turn them."
    ]


def _rows(study: Study, found: Replay) -> Iterator[tuple[object, ...]]:
    """A row a candidate, in the order of the search."""
    before: tuple[str, ...] | None = None
    for turn in found.rounds:
        decided = turn.decision
        assert decided is not None  # a replay ends where one is not
        for point, runs in by_point(turn.candidates).items():
            score = decided.scores.get(point)
            part = "" if runs[0].fidelity.is_whole else f" ({runs[0].fidelity.words})"
            said = _goes_on(decided) if point == decided.winner and decided.settled else ""
            yield (
                turn.round,
                study.explore.label(point, runs[0].encoders, before) + part,
                "failed" if score is None else f"{score:.2f}",
                _hours(found, runs),
                said or decided.failed.get(point) or decided.mark(point),
            )
        if study.explore.goes_on and decided.settled:
            before = next(one.encoders for one in turn.candidates if one.point == decided.winner)


def _found(found: Replay) -> str:
    """The best that was looked at, beside the best there is."""
    best, most = _best(found.scores), _best(found.tabulated)
    said = f"It found {best['name']}, {best['score']:.2f}"
    if found.regret <= 0.0:
        return f"{said}: the best that is tabulated."
    return (
        f"{said}; the best that is tabulated is {most['name']}, {most['score']:.2f}: a regret of "
        f"{found.regret:.2f} points."
    )


def _goes_on(decided: Decision) -> str:
    """Who won, how far it is ahead, and whether that is a tie."""
    if decided.difference is None:
        return "best"
    tie = ", a tie with the next" if decided.tie else ""
    return f"best, by {decided.difference:.2f}{tie}"


def _hours(found: Replay, candidates: Iterable[Candidate]) -> str:
    return in_hours(found.hours(candidates))


def in_hours(hours: float | None) -> str:
    """Hours as they are shown, `?` where they are not known."""
    if hours is None:
        return "?"
    return f"{hours:.2g}" if 0 < hours < 1 else f"{hours:,.{1 if hours < 100 else 0}f}"
