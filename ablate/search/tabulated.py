"""Results that are known beforehand, as what a search may look up: a table stands for training.

A search reads a table as it reads the store, so any strategy can be tried in seconds, also on the
scores of others (as the simulator of Syne Tune does: Salinas et al., AutoML 2022).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from ablate.catalog import published, suites
from ablate.config.study import Study
from ablate.cost import estimate as cost
from ablate.cost.hours import HoursOfSteps
from ablate.design import Candidate, Design, encoder_spec
from ablate.errors import UserError, nearest
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.results import Evaluation, Failure, Lookup, StoredResults
from ablate.store.steps import ancestors
from ablate.strategies import propose

GPU = "a100"
"""Whose hours are meant where a cost is estimated."""
Costs = Mapping[str, float]
"""Device-hours by what they are spent on: what two candidates share is there under one name."""


class Table(Lookup, Protocol):
    """What a search is replayed over. `source` says whose scores these are, `unit` what a cost is
    in and `costed` whose word it is, `notes` what is to be known; `study` is the one they are
    results of, with the seeds that there are.
    """

    study: Study
    source: str
    unit: str
    costed: str
    notes: Sequence[str]

    @property
    def candidates(self) -> Sequence[Candidate]:
        """Everything that is tabulated."""

    def costs(self, candidate: Candidate) -> Costs | None:
        """What the candidate takes; None where that is not known."""


@dataclass(frozen=True)
class Entry:
    """A run of a design point: its score in 0..100 by task, its cost, and where it is written."""

    point: str
    scores: Mapping[str, float]
    where: str
    hours: float | None = None
    seed: int | None = None


ALONE = (
    "Scores alone: no answers are behind them, so decisions have no interval; the choice of "
    "questions and training noise are not in them."
)


class Points:
    """The design points of a study by what a table may call them: by the name that its first round
    has for them, or, where these are `mixtures`, as encoders of its shelf with `+` between them.
    """

    def __init__(self, study: Study) -> None:
        self._study, self.shelf = study, study.shelf
        trials = propose(study.explore, study.base, ())
        self._named = {point: trial.design for point, trial in trials.items()}
        self.mixtures = all(point == design.mixture for point, design in self._named.items())

    def resolve(self, name: str) -> str:
        """The point of that name, encoders by their full titles. UserError names the nearest."""
        if name in self._named:
            return name
        if not self.mixtures:
            raise UserError(f"no {self._study.explore.noun} '{name}'{nearest(name, self._named)}")
        titles = [encoder_spec(part.strip()).title for part in name.split("+")]
        for n, title in enumerate(titles):
            if title not in self.shelf:
                raise UserError(f"'{title}' is none of the study's{nearest(title, self.shelf)}")
            if title in titles[:n]:
                raise UserError(f"'{title}' is there twice")
        return "+".join(titles)

    def same(self, point: str) -> str:
        """What all names of a point have in common: a mixture is the same in any order."""
        titles = sorted(point.split("+"))
        return "+".join(titles) if set(titles) <= set(self.shelf) else point

    def design(self, point: str) -> Design:
        """The design of a resolved point."""
        if point in self._named:
            return self._named[point]
        return self._study.base.model_copy(update={"encoders": tuple(point.split("+"))})


class ScoreTable:
    """Scores without answers: a decision made by them has no interval.

    Raises UserError where a point is there twice, or lacks a seed that another has.
    """

    unit = "GPU-hours"
    home = None

    def __init__(
        self, study: Study, source: str, entries: Iterable[Entry], notes: Sequence[str] = ()
    ) -> None:
        self.source, self._points = source, Points(study)
        self.notes: Sequence[str] = [*notes, ALONE]
        self._entries: dict[tuple[str, int | None], Entry] = {}
        for entry in entries:
            first = self._entries.setdefault((self._points.same(entry.point), entry.seed), entry)
            if first is not entry:
                raise UserError(f"{entry.where}: '{entry.point}' is there already: {first.where}")
        seeds = {seed for _, seed in self._entries}
        for (same, _), entry in self._entries.items():
            for seed in seeds:
                if (same, seed) not in self._entries:
                    kind = "without a seed" if seed is None else f"of seed {seed}"
                    raise UserError(
                        f"{entry.where}: '{entry.point}' has no run {kind}, others have"
                    )
        self._seeded = None not in seeds
        known = tuple(sorted(seed for seed in seeds if seed is not None)) or study.seeds[:1]
        self.study = study.model_copy(update={"seeds": known, "adds_seeds": False})
        priced = all(entry.hours is not None for entry in self._entries.values())
        self.costed = "as the table has it" if priced else f"estimated as in `ablate plan` on {GPU}"
        self._estimate = None if priced else HoursOfSteps(study, cost.GPUS[GPU])

    @cached_property
    def candidates(self) -> Sequence[Candidate]:
        designs = {
            entry.point: self._points.design(entry.point) for entry in self._entries.values()
        }
        return [
            _candidate(design, point, seed)
            for point, design in designs.items()
            for seed in self.study.seeds
        ]

    def result(self, candidate: Candidate) -> Evaluation | Failure | None:
        entry = self._entry(candidate)
        if entry is None or not candidate.fidelity.is_whole:
            return None
        composite = sum(entry.scores.values()) / len(entry.scores)
        return Evaluation(entry.where, entry.scores, composite, answers=None)

    def decision(self, number: int) -> dict[str, Any] | None:
        return None

    def costs(self, candidate: Candidate) -> Costs | None:
        if self._estimate:
            return self._estimate(candidate)
        entry = self._entry(candidate)
        return None if entry is None else {entry.where: entry.hours or 0.0}

    def _entry(self, candidate: Candidate) -> Entry | None:
        seed = candidate.seed if self._seeded else None
        return self._entries.get((self._points.same(candidate.point), seed))


def _candidate(design: Design, point: str, seed: int) -> Candidate:
    fields = {field: getattr(design, field) for field in Design.model_fields}
    return Candidate(**fields, name=f"{point} (seed {seed})", point=point, round=1, seed=seed)


class StoreTable:
    """What the store holds of a study: everything that its own search has looked at so far.

    Another strategy may find more there, of other studies; the candidate's own order counts.
    """

    costed = "as its steps took it"
    notes: Sequence[str] = ()

    def __init__(self, study: Study, store: Store) -> None:
        self.study, self.home, self._results = study, store.home, StoredResults(store, study)
        self.source = f"the store in {store.home}"
        self.unit = "GPU-hours" if study.infra.device == "cuda" else "CPU-hours"

    @cached_property
    def candidates(self) -> Sequence[Candidate]:
        rounds = rounds_so_far(self.study, self)
        return [
            candidate
            for turn in rounds
            for candidate in turn.candidates
            if self.result(candidate) is not None
        ]

    def result(self, candidate: Candidate) -> Evaluation | Failure | None:
        return self._results.result(candidate)

    def decision(self, number: int) -> dict[str, Any] | None:
        return self._results.decision(number)

    def costs(self, candidate: Candidate) -> Costs | None:
        hours = {}
        for step in ancestors(self._results.steps(candidate)):
            record = self._results.store.record(step)
            if record is None:
                return None
            hours[step.key] = float(record.get("device_seconds") or 0.0) / 3600
        return hours


class Untried:
    """The designs of a study of which nothing is known but what they cost: estimated on a GPU."""

    unit = "GPU-hours"
    home = None
    source = "nothing yet"
    notes: Sequence[str] = ()

    def __init__(self, study: Study, gpu: str = GPU) -> None:
        self.study, self.costed = study, f"estimated as in `ablate plan` on {gpu}"
        self._estimate = HoursOfSteps(study, cost.GPUS[gpu])

    @cached_property
    def candidates(self) -> Sequence[Candidate]:
        trials = propose(self.study.explore, self.study.base, ())
        return [
            _candidate(trial.design, point, self.study.seeds[0]) for point, trial in trials.items()
        ]

    def result(self, candidate: Candidate) -> None:
        return None

    def decision(self, number: int) -> None:
        return None

    def costs(self, candidate: Candidate) -> Costs | None:
        return self._estimate(candidate)


def paper_table(study: Study) -> ScoreTable:
    """The published table that the study names: the rows of its mixtures, or those that its arms
    repeat.

    Raises UserError where it names none, or the table lacks a benchmark of the study's suite.
    """
    suite = study.asks
    if study.published is None:
        raise UserError(f"{study.name} names no published table: give it the field `published`")
    if not suite.published:
        raise UserError(f"{study.name} asks no published benchmark, its suite is {suite.name}")
    table = published.table(study.published)
    columns = {task.task: _column(table, task, suite.name) for task in suite.tasks}
    entries: list[Entry] = []
    doubts: dict[str, dict[str, None]] = {}
    for point, row in _rows(study, table):
        scores = {}
        for task, (column, full) in columns.items():
            value = table.printed(row, column)
            if value is None:
                raise UserError(f"{table.id}, row {row}, column {column}: not published")
            scores[task] = 100.0 * value / full
            if doubt := table.doubt(row, column):
                doubts.setdefault(doubt, {})[row] = None
        entries.append(Entry(point, scores, f"row {row}"))
    if not entries:
        raise UserError(f"{table.id} has no row that a candidate of {study.name} is")
    source = f"{table.title} ({table.version})"
    notes = [f"Doubtful ({', '.join(rows)}): {why}." for why, rows in doubts.items()]
    return ScoreTable(study, source, entries, notes)


def _column(table: published.Table, task: suites.SuiteTask, suite: str) -> tuple[str, float]:
    """The column that measures what a task does, and the best score there can be in it."""
    about = published.book().columns
    for name in table.columns:
        full = about[name].full
        if full and task.benchmark and about[name].benchmark == task.benchmark:
            return name, full
    raise UserError(f"{table.id} has no column of {task.title or task.task}, which {suite} asks")


def _rows(study: Study, table: published.Table) -> Iterator[tuple[str, str]]:
    """Our design points with the names of their published rows."""
    if not Points(study).mixtures:
        yield from ((str(name), row) for name, row in study.explore.published_rows.items())
        return
    families = {title: encoder_spec(title).family for title in study.shelf}
    for row in table.rows:
        named = [published.book().experts[expert] for expert in row.encoders]
        titles = [
            [title for title, family in families.items() if family in group] for group in named
        ]
        if titles and all(len(titles_of_group) == 1 for titles_of_group in titles):
            yield "+".join(titles_of_group[0] for titles_of_group in titles), row.name
