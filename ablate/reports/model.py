"""What a report is made from: one study's rounds, candidates and steps, as read from the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import stdev
from typing import Any

import pandas as pd

from ablate.catalog.noise_floors import Floors
from ablate.catalog.step_kinds import EVALUATE, USUAL, StepKind, find
from ablate.redaction import redact
from ablate.reports.answer_frame import answer_frame
from ablate.reports.fronts import undominated
from ablate.reports.references import ReferenceResult
from ablate.reports.scoreboard import Scoreboard
from ablate.store.answers import Answers, Replicates, Rows
from ablate.store.explanations import Explanations
from ablate.store.masks import MaskedRun
from ablate.strategies import Strategy


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class StepResult:
    """One step: what it is, where it stands, and what it left in the store.

    `status` is `done`, `failed`, `running`, `waiting`, or `gone`: the artifact is not there, and
    nothing that is still to be done needs it; `within`: where its `folder` lies, one object for
    many steps; `record` is empty until it ended. `far`: how far one at work was when it was looked
    at, in words; `stage`: what its recipe calls it, where that is not its kind; `files`: what a
    committed artifact's are by size and times (`folder_signature`).
    """

    kind: str
    key: str
    slug: str
    dirname: str
    status: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    within: Path | None = None
    far: str = ""
    stage: str = ""
    files: str = ""

    @property
    def name(self) -> str:
        """What it is called: its stage, or its kind."""
        return self.stage or self.kind

    @property
    def folder(self) -> Path | None:
        """The committed artifact, else the work folder if there is one."""
        return self.within / self.dirname if self.within else None

    @property
    def about(self) -> StepKind:
        """What is known of its kind."""
        return find(self.kind)

    def __repr__(self) -> str:
        return f"<StepResult {self.name} {_brief(self.slug)} ({self.key[:12]}): {self.status}>"

    @property
    def error(self) -> Mapping[str, str]:
        """`type` and `message` of what it failed for, without secrets; empty if it has not."""
        if self.status != "failed":
            return {}
        error = self.record.get("error") or {"type": "", "message": "no reason kept"}
        return {name: redact(text) for name, text in error.items()}

    @property
    def reason(self) -> str:
        """Why it failed, in a line."""
        return " ".join(self.error.get("message", "").split())

    @property
    def seconds(self) -> float:
        return float(self.record.get("seconds") or 0.0)

    @property
    def device_seconds(self) -> float:
        return float(self.record.get("device_seconds") or 0.0)


@dataclass(frozen=True, eq=False, repr=False)
class CandidateResult:
    """One candidate of a round (or one arm), its seeds together: configuration, steps, answers.

    `config` is its design as resolved JSON; `scores` maps a task to 0-100 (a mean over seeds),
    `seed_scores` are the composites and `runs` the answers of each seed; the images asked about lie
    below `images`. `unread`: by task how many answers its scorer could not read, of all runs.
    `point`: its design's name, which is its own but where it was trained in part.
    """

    name: str
    round: int
    encoders: tuple[str, ...]
    fusion: str
    config: Mapping[str, Any]
    steps: tuple[StepResult, ...]
    scores: Mapping[str, float] = field(default_factory=dict)
    seed_scores: tuple[float, ...] = ()
    runs: tuple[Answers, ...] = ()
    images: Path | None = None
    unread: Mapping[str, int] = field(default_factory=dict)
    point: str = ""

    def __repr__(self) -> str:
        score = self.status if self.composite is None else f"{self.composite:.1f}"
        return f"<CandidateResult {_brief(self.name)} of round {self.round}: {score}>"

    @cached_property
    def composite(self) -> float | None:
        """The score that counts, 0-100; `None` while it is not known."""
        return sum(self.seed_scores) / len(self.seed_scores) if self.seed_scores else None

    @property
    def answered(self) -> bool:
        """Whether there are answers to compare it by, of each of its runs."""
        return bool(self.runs) and all(run.questions for run in self.runs)

    @property
    def rows(self) -> Rows:
        """The answers of all runs, each with its `seed`."""
        return [
            {**row, "seed": seed}
            for run, seed in zip(self.runs, self.config["seeds"], strict=False)
            for row in run.rows
        ]

    @cached_property
    def spread(self) -> float | None:
        """The standard deviation of the composite over seeds (n - 1); `None` of less than two."""
        return stdev(self.seed_scores) if len(self.seed_scores) > 1 else None

    @cached_property
    def status(self) -> str:
        """`done` once it is scored; else `failed` or `running` if a step is, or `waiting`."""
        states = {step.status for step in self.steps}
        if self.seed_scores or states == {"done"}:
            return "done"
        return next((word for word in ("failed", "running") if word in states), "waiting")

    @property
    def notes(self) -> list[str]:
        """What its fusion said of this set-up when it was trained, as that a part had no effect."""
        trained = [s for s in self.steps if s.about.trains and not s.about.per_expert]
        notes = [(step.record.get("result") or {}).get("fusion_notes", []) for step in trained]
        return list(dict.fromkeys(line for lines in notes for line in lines))

    @cached_property
    def last_stages(self) -> tuple[StepResult, ...]:
        """The last stage of its training, once a seed: what its evaluation is of."""
        steps = [step for step in self.steps if step.about.trains or step.kind == EVALUATE]
        return tuple(before for before, after in pairwise(steps) if not after.about.trains)

    @property
    def failure(self) -> tuple[StepResult, Mapping[str, str]] | None:
        """The first failed step with its `{type, message}`, without secrets."""
        return next(((step, step.error) for step in self.steps if step.error), None)

    @property
    def failures(self) -> list[str]:
        """Every failed step with its reason, in a line each."""
        return [f"{step.name} {step.slug}: {step.reason}" for step in self.steps if step.error]

    @cached_property
    def answers(self) -> pd.DataFrame:
        """Its answers, see `answer_frame`; empty while it is not scored."""
        return answer_frame(self.rows)


def _brief(name: str, most: int = 120) -> str:
    """A name as a `repr` holds it, which is printed whole and in every traceback."""
    return repr(name if len(name) <= most else f"{name[: most - 3]}...")


@dataclass(frozen=True)
class Repeats:
    """The published table a study repeats, by its id, and its rows: by the names of our candidates,
    or by the number of the round whose winner is held against it.
    """

    table: str
    rows: Mapping[str | int, str]


@dataclass(frozen=True)
class Contest:
    """A round's choice by scores alone: those of each rival in 0..100 by task, and who won."""

    number: int
    scores: Mapping[str, Mapping[str, float]]
    encoders: Mapping[str, tuple[str, ...]]
    winner: str


@dataclass(frozen=True, eq=False, repr=False)
class RoundResult:
    """One round: its candidates, and the search's stored decision once there is one.

    `partial`: what was trained or asked in part to choose among them, never among the candidates;
    `looks`: the decisions that were made on the way, where the round took several turns.
    """

    number: int
    candidates: tuple[CandidateResult, ...]
    decision: Mapping[str, Any] | None = None
    partial: tuple[CandidateResult, ...] = ()
    looks: tuple[Mapping[str, Any], ...] = ()

    def __repr__(self) -> str:
        chosen = _brief(self.winner.name) if self.winner else "undecided"
        return f"<RoundResult {self.number} of {len(self.candidates)} candidates: {chosen}>"

    def named(self, name: str | None) -> CandidateResult | None:
        """The candidate called `name`, or `None`."""
        return next((candidate for candidate in self.candidates if candidate.name == name), None)

    @property
    def winner(self) -> CandidateResult | None:
        """Who the search chose; `None` while the round is undecided."""
        return self.named(self.decision["winner"]) if self.decision else None


@dataclass(frozen=True, eq=False, repr=False)
class StudyResult:
    """A study and all that the store knows of it.

    `strategy` says how its candidates came about and how they are shown.
    `tasks` maps each task of the suite to its short title, `benchmarks` to the published benchmark
    that it is (tasks of ours are none), `families` to the group of columns it stands in.
    `base_name` is the candidate of round 1 that is the study's base, or the first if none is.
    `published`: what it is held against, if any. `id`: what it is filed under in the home.
    `older`: composites, by candidate and seed, that an older version of ablate found under keys
    that held less; they are none of the results. `replicates`: runs of this recipe and suite in the
    store that differ in their seed alone, of this study or another; `floors`: what training noise
    is shipped of them; `masked`: by candidate what its mixture scores with some of its experts
    alone; `explained`: where they look for some answers. `published_choices`: those of
    the study's search over the published table that it repeats, `published_source` whose they are;
    or, where there are none, why. `objectives`: of a search that weighs several against each other
    what each candidate comes to, by its name. `references`: models that are none of its candidates.
    """

    name: str
    title: str
    question: str
    strategy: Strategy
    suite: str
    tasks: Mapping[str, str]
    planned_rounds: int
    base_name: str
    rounds: tuple[RoundResult, ...]
    home: Path
    benchmarks: Mapping[str, str] = field(default_factory=dict)
    published: Repeats | None = None
    families: Mapping[str, str] = field(default_factory=dict)
    id: str = ""
    older: Mapping[str, float] = field(default_factory=dict)
    published_choices: tuple[Contest, ...] = ()
    published_source: str = ""
    objectives: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    references: tuple[ReferenceResult, ...] = ()
    replicates: Replicates = field(default_factory=dict)
    floors: Floors = field(default_factory=dict)
    masked: Mapping[str, Sequence[MaskedRun]] = field(default_factory=dict)
    explained: Mapping[str, Explanations] = field(default_factory=dict)

    def __repr__(self) -> str:
        scored = [candidate for candidate in self.candidates if candidate.composite is not None]
        best = f", best {_brief(self.best.name)} {self.best.composite:.1f}" if self.best else ""
        return (
            f"<StudyResult {_brief(self.name)} on {self.suite}: {self.strategy.kind}, "
            f"{len(scored)} of {len(self.candidates)} candidates scored{best}>"
        )

    @cached_property
    def candidates(self) -> tuple[CandidateResult, ...]:
        """Every candidate that is settled to be part of the study, in order of rounds."""
        return tuple(candidate for turn in self.rounds for candidate in turn.candidates)

    @cached_property
    def numbers(self) -> Mapping[CandidateResult, int]:
        """Where each of `candidates` stands among them, from 1 on."""
        return {candidate: number for number, candidate in enumerate(self.candidates, start=1)}

    @cached_property
    def _everything(self) -> tuple[CandidateResult, ...]:
        """What is trained in part only, too."""
        return tuple(
            candidate for turn in self.rounds for candidate in (*turn.candidates, *turn.partial)
        )

    @cached_property
    def front(self) -> tuple[str, ...]:
        """Of a search with several objectives the candidates that no other beats in all of them, by
        the scores as they were measured."""
        view = self.strategy.view
        ways = view.objectives if view else {}
        return tuple(undominated(self.objectives, ways)) if self.objectives else ()

    @cached_property
    def base(self) -> CandidateResult:
        """The base candidate."""
        return next(candidate for candidate in self.candidates if candidate.name == self.base_name)

    @cached_property
    def winners(self) -> tuple[CandidateResult, ...]:
        """The winner of each decided round, in order."""
        return tuple(turn.winner for turn in self.rounds if turn.winner is not None)

    @property
    def choices(self) -> tuple[Contest, ...]:
        """What each decided round (or the arms) chose from."""
        contests = []
        for turn in self.rounds:
            scored = [candidate for candidate in turn.candidates if candidate.scores]
            if turn.winner is not None:
                scores = {candidate.name: candidate.scores for candidate in scored}
                encoders = {candidate.name: candidate.encoders for candidate in scored}
                contests.append(Contest(turn.number, scores, encoders, turn.winner.name))
        return tuple(contests)

    @cached_property
    def best(self) -> CandidateResult | None:
        """The highest composite of all; of equals one of the earliest round, the first by name."""
        scored = [candidate for candidate in self.candidates if candidate.composite is not None]
        ranked = sorted(
            scored,
            key=lambda candidate: (-(candidate.composite or 0.0), candidate.round, candidate.name),
        )
        return next(iter(ranked), None)

    def reference(self, candidate: CandidateResult) -> CandidateResult | None:
        """What `candidate` is held against: the winner before it, or else the base."""
        if not self.strategy.goes_on:
            return None if candidate is self.base else self.base
        before = [turn.winner for turn in self.rounds if turn.number < candidate.round]
        return before[-1] if before else None

    def label(self, candidate: CandidateResult) -> str:
        """A short name: in a search what sets it apart from the winner before; else its name."""
        before = self.reference(candidate) if self.strategy.goes_on else None
        mixture = before.encoders if before else None
        return self.strategy.label(candidate.name, candidate.encoders, mixture)

    @cached_property
    def scoreboard(self) -> Scoreboard:
        """How sure every score and difference of the study is."""
        return Scoreboard(self.candidates, self.replicates, self.floors)

    @cached_property
    def steps(self) -> Mapping[str, StepResult]:
        """Every step of the study once, by key, in the order of first use."""
        return {step.key: step for candidate in self._everything for step in candidate.steps}

    @cached_property
    def stages(self) -> Mapping[str, StepKind]:
        """What its steps are called, with their kinds, in the order of a chain; usual ones too."""
        kinds = {name: find(name) for name in USUAL}
        order = list(kinds)
        for candidate in self.candidates:
            before = None
            for step in candidate.steps:
                if step.name not in order:
                    order.insert(order.index(before) + 1 if before else 0, step.name)
                    kinds[step.name] = step.about
                before = step.name
        return {name: kinds[name] for name in order}

    @cached_property
    def used_by(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the candidates that need each step, by the step's key."""
        users: dict[str, list[str]] = {}
        for candidate in self._everything:
            for step in candidate.steps:
                users.setdefault(step.key, []).append(candidate.name)
        return {key: tuple(names) for key, names in users.items()}

    @property
    def complete(self) -> bool:
        """Whether every round is there and every candidate has ended, scored or failed."""
        return len(self.rounds) == self.planned_rounds and all(
            candidate.status in ("done", "failed") for candidate in self._everything
        )


def best_first(candidates: Sequence[CandidateResult]) -> list[CandidateResult]:
    """By composite, those that are not scored last; equal ones by name."""
    return sorted(
        candidates, key=lambda candidate: (-(candidate.composite or -1.0), candidate.name)
    )
