"""Any declared space, searched by Optuna (Akiba et al., KDD 2019)."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, PrivateAttr, Strict, field_validator, model_validator

from ablate.design import Design
from ablate.design.fidelity import WHOLE, Fidelity
from ablate.errors import UserError, nearest
from ablate.parsing.validation import Seed, mistake
from ablate.strategies import (
    Choice,
    Context,
    Look,
    OptunaView,
    Outcome,
    Round,
    Standing,
    Strategy,
    Trial,
    alike,
    mean,
)
from ablate.strategies._objectives import COSTS, means, points_by_image
from ablate.strategies._sampling import (
    PrunerConfig,
    Report,
    SamplerConfig,
    Sampling,
    State,
    TrialResult,
    pruned,
    pruner,
    sampler,
    sampler_defaults,
)
from ablate.strategies._space import AnyRange, Point, Space, Subset, base_point, design_at, variant

STORAGES = ("journal", "sqlite", "postgresql", "mysql")
"""Where trials may be shown: a file of the home, and kinds of databases."""
PASSWORD = re.compile(r"://[^/@]*:(?!\$)[^@]+@|[?&]password=(?!\$)", re.IGNORECASE)
"""Of an address, as SQLAlchemy reads it: behind the user, or as a parameter."""
Direction = Literal["maximize", "minimize"]


class Optuna(Strategy):
    """A declared space searched by Optuna: its samplers, pruners, objectives and storage.

    `space`: fields of the base by dotted path, and where each ranges (`categorical`, `subset` of
    experts, `integer`, `float`). `n_trials` of it are tried, `parallel` of them side by side: a
    turn is asked of the `sampler` (started by `seed`) once those before have ended, and told back
    in their order. A point whose parts do not fit together is told as failed as soon as it is
    asked for, and another one tried in its place. The first trial is the base, where the space has
    it and the sampler is no grid.

    `objectives`: `score`, a task of the suite, `gpu_hours` (as `ablate plan` estimates them, on an
    A100, all steps of a candidate), `visual_tokens` or `parameters`, each with a direction. Where
    there are several, none of which wins alone, their front is shown.

    `budgets`: parts of a candidate, the smallest first, and `{}`, all of it; after each of them the
    `pruner` stops trials, and the others go on to the next. A pruner reads the score
    at each budget, at the step that is its least share in percent; `wilcoxon` the points of every
    image (its test knows the choice of images, and no training noise). `storage`: where the trials
    are shown live, a `journal` in the home or the address of a database: `sqlite:///trials.db` (in
    the folder of the study in the home), or `postgresql://me:$PASSWORD@host/trials`, where `$NAME`
    is a variable of the environment and the only place for a password.
    """

    example: ClassVar[Mapping[str, Any]] = {
        "n_trials": 6,
        "parallel": 2,
        "sampler": {"name": "tpe", "n_startup_trials": 2},
        "space": {
            "encoders": {"kind": "subset", "of": ["sam-micro@128", "dinov2-micro@64"]},
            "recipe.finetune.train.llm": {"kind": "float", "low": 1e-4, "high": 1e-3, "log": True},
        },
    }
    goes_on: ClassVar[bool] = False
    noun: ClassVar[str] = "trial"
    assumption: ClassVar[str] = "a guess, until Optuna is told what came of those before"
    looks: ClassVar[bool] = True
    guesses: ClassVar[bool] = True

    n_trials: PositiveInt
    parallel: PositiveInt = 1
    seed: Seed = 0
    space: Annotated[dict[str, AnyRange], Field(min_length=1)]
    sampler: SamplerConfig = Field(default="tpe", validate_default=True)
    objectives: dict[str, Direction] = Field(default={"score": "maximize"}, min_length=1)
    pruner: PrunerConfig | None = None
    budgets: Annotated[tuple[Fidelity, ...] | None, Strict(False)] = None
    storage: str = "journal"
    _sampling: Sampling = PrivateAttr()
    _build: Callable[[Point], Design] = PrivateAttr()
    _points: dict[str, Point] = PrivateAttr(default_factory=dict)
    _requires: list[Callable[[Design], None]] = PrivateAttr(default_factory=list)

    @field_validator("objectives", mode="before")
    @classmethod
    def _directed(cls, value: Any) -> Any:
        """A line of its own for an objective of which no direction is given."""
        written = dict.fromkeys(value) if isinstance(value, list) else value
        for name, way in written.items() if isinstance(written, dict) else ():
            if way is None:
                raise mistake(
                    f"'{name}' has no direction; write {name}: maximize or {name}: minimize"
                )
        return value

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        """Budgets where there is a pruner, and only there, and one objective."""
        if (len(self._rungs) > 1) != (self.pruner is not None):
            has, lacks = ("budgets", "pruner") if self.pruner is None else ("a pruner", "budgets")
            raise mistake(f"{has} without {lacks} would stop nothing: give both, or none")
        if self.pruner and len(self.objectives) > 1:
            raise mistake("a pruner reads one objective, here are several; leave one of both out")
        if self.pruner and "score" not in self.objectives:
            raise mistake("a pruner reads the score on the way: make it the objective")
        if self.sampler.name == "cmaes" and len(self.objectives) > 1:
            raise mistake("cmaes takes one objective; choose nsgaii, nsgaiii, tpe or gp")
        return self

    @property
    def _rungs(self) -> tuple[Fidelity, ...]:
        """What each trial passes, up to all of it."""
        return (WHOLE,) if self.budgets is None else self.budgets

    @property
    def planned_rounds(self) -> int:
        return math.ceil(self.n_trials / self.parallel)

    @property
    def rule(self) -> str:
        pruner = self.pruner.model_dump(mode="json") if self.pruner else "none"
        return f"Optuna: {self.objectives}, pruner {pruner}"

    @property
    def keeps(self) -> int:
        return self.parallel

    @property
    def costs(self) -> tuple[str, ...]:
        return tuple(name for name in self.objectives if name in COSTS)

    def resolved(self, study: Context) -> Self:
        for name in self.objectives:
            with study.at("objectives", name):
                choices = ("score", *COSTS, *study.tasks)
                if name not in choices:
                    raise UserError(f"no objective '{name}'{nearest(name, choices)}")
        with study.at("storage"):
            kind, colon, _ = self.storage.partition("://")
            if (kind.partition("+")[0] not in STORAGES) or bool(colon) == (kind == "journal"):
                raise UserError(f"no storage '{kind}'{nearest(kind, STORAGES)}")
            if PASSWORD.search(self.storage):
                raise UserError(
                    "a study is shown and kept, so no password stands in it: put it into a "
                    "variable of the environment, and write user:$NAME@host"
                )
        ranges = {path: self._checked(path, study) for path in self.space}
        space = Space(ranges)
        with study.at("sampler"):  # Optuna itself takes its time to import
            check = sampler if self.sampler.options else sampler_defaults
            check(self.sampler, space, self.seed, self.n_trials)
        if self.pruner and self.pruner.options:
            with study.at("pruner"):
                pruner(self.pruner, _step(self._rungs[0]), 100)
        study.check_budgets("budgets", self._rungs)
        steps = [_step(budget) for budget in self._rungs]
        with study.at("budgets"):
            if steps != sorted(set(steps)):
                raise UserError(f"the least shares should grow, they are {steps} %")
        strategy = self.model_copy(update={"space": ranges})
        strategy._build = partial(design_at, study, space)
        strategy._sampling = Sampling(
            space,
            self.sampler,
            tuple(self.objectives.values()),
            self.seed,
            self.n_trials,
            strategy._fits,
            None if self.sampler.name == "grid" else base_point(study, space),
            {
                "base": study.base.model_dump(mode="json"),
                "space": {path: values.model_dump(mode="json") for path, values in ranges.items()},
            },
        )
        return strategy

    def restrict(self, require_built: Callable[[Design], None]) -> None:
        if require_built not in self._requires:
            self._requires.append(require_built)
            self._sampling.forget()

    def _checked(self, path: str, study: Context) -> AnyRange:
        """The range of a field, which the base takes alone, encoders by their full titles."""
        values = self.space[path]
        with study.at("space", path):
            if path == "llm" or path.endswith(".data"):
                raise UserError("language models and data are compared as arms, not searched")
            if isinstance(values, Subset) != (path == "encoders"):
                hint = "subset ranges over encoders alone" if path != "encoders" else "take subset"
                raise UserError(f"{hint}, got {values.kind}")
        if isinstance(values, Subset):
            titles = study.encoders("space", values.of, path, "of")
            values = values.model_copy(update={"of": titles})
        for value in values.ends():
            variant(study, {path: value})
        return values

    def shelf(self, base: Design) -> tuple[str, ...]:
        ranges = self.space.values()
        added = [title for values in ranges if isinstance(values, Subset) for title in values.of]
        return (*base.encoders, *added)

    def designs(self, base: Design, before: Sequence[Round]) -> Mapping[str, Design]:
        return {point: trial.design for point, trial in self.trials(base, before).items()}

    def trials(self, base: Design, before: Sequence[Round]) -> Mapping[str, Trial]:
        rounds = [list(turns) for _, turns in groupby(before, lambda turn: turn.round)]
        if rounds and (left := self._left(rounds[-1])):
            budget = self._rungs[len(rounds[-1])]
            return {point: self._trial(point, budget) for point in left}
        start = len(rounds) * self.parallel
        count = min(self.parallel, self.n_trials - start)
        if count <= 0:
            return {}
        if all(turn.ended for turn in before):
            points = self._sampling.propose([self._results(turns) for turns in rounds], count)
        else:
            points = self._sampling.guess(len(rounds), count)
        names = [f"{n}: {self._sampling.space.words(p)}" for n, p in enumerate(points, start)]
        self._points.update(zip(names, points, strict=True))
        return {name: self._trial(name, self._rungs[0]) for name in names}

    def choose(self, rivals: Mapping[str, Sequence[Outcome]], history: Sequence[Outcome]) -> Choice:
        runs = {point: alike(outcomes) for point, outcomes in rivals.items()}
        values = {point: self._values(outcomes) for point, outcomes in runs.items()}
        sign = -1.0 if next(iter(self.objectives.values())) == "maximize" else 1.0
        ranked = sorted(runs, key=lambda point: (sign * values[point][0], _number(point)))
        whole = all(outcomes[0].candidate.fidelity.is_whole for outcomes in runs.values())
        if self.pruner is None or whole:
            return Choice(tuple(ranked[: self.keeps]), runs, values=values)
        every = [*history, *(outcome for outcomes in rivals.values() for outcome in outcomes)]
        numbers = pruned(
            self.pruner,
            (_step(self._rungs[0]), 100),
            self.objectives["score"],
            [self._reports(turn) for turn in _turns(every)],
        )
        stopped = {point for point in ranked if _number(point) in numbers}
        going = [point for point in ranked if point not in stopped]
        standings = {
            point: Standing(
                runs=len(runs[point]),
                score=mean(runs[point]),
                behind=mean(runs[ranked[0]]) - mean(runs[point]),
                bound=None,
                mark="dropped" if point in stopped else "goes on",
                why=f"Optuna's {self.pruner.name}",
            )
            for point in ranked
        }
        open_ = tuple(sorted(going, key=_number))
        look = Look(open_, standings, error=None, spent=None)
        return Choice(tuple(going or ranked[:1]), runs, look, values)

    @property
    def view(self) -> OptunaView:
        return OptunaView(
            storage=self.storage,
            objectives=self.objectives,
            distributions=self._sampling.space.distributions,
            params=self._points,
            values=self._values,
            reported=self._reported,
        )

    @property
    def differs_in(self) -> str:
        return "their settings"

    @property
    def varies(self) -> tuple[str, ...]:
        return tuple(sorted(self.space))

    @property
    def heading(self) -> str:
        return "Trials"

    def label(self, name: str, encoders: Sequence[str], before: Sequence[str] | None) -> str:
        return name

    def _trial(self, point: str, budget: Fidelity) -> Trial:
        return Trial(self._build(self._points[point]), fidelity=budget)

    def _fits(self, point: Point) -> bool:
        try:
            design = self._build(point)
            for require in self._requires:
                require(design)
        except UserError:
            return False
        return True

    def _left(self, turns: Sequence[Round]) -> Sequence[str]:
        """The trials of a round that go on to the next budget; while that is open, all of them."""
        last = turns[-1]
        if len(turns) == len(self._rungs):
            return ()
        if last.decision is None:
            return () if last.ended else last.points
        return last.decision.look.open if last.decision.look else ()

    def _results(self, turns: Sequence[Round]) -> list[TrialResult]:
        """What came of the trials of a round, in their order."""
        results = []
        for point in turns[0].points:
            reported: list[tuple[int, float]] = []
            state: State = "pruned"
            values: tuple[float, ...] = ()
            for turn in turns:
                if point in turn.points:
                    scored = turn.decision.values.get(point) if turn.decision else None
                    whole = turn.candidates[0].fidelity.is_whole
                    state = "failed" if scored is None else "complete" if whole else "pruned"
                    values = scored or ()
                    if values and len(self.objectives) == 1:
                        reported.append((_step(turn.candidates[0].fidelity), values[0]))
            results.append(
                TrialResult(state, values if state == "complete" else (), tuple(reported))
            )
        return results

    def _values(self, runs: Sequence[Outcome]) -> tuple[float, ...]:
        """The objectives of a trial, means over its seeds."""
        return means(runs, self.objectives)

    def _reported(self, runs: Sequence[Outcome]) -> dict[int, float]:
        """By step what a trial is worth on the way, of its runs of one fidelity."""
        if self.pruner and self.pruner.name == "wilcoxon":
            return points_by_image(runs)
        if len(self.objectives) > 1:
            return {}
        return {_step(runs[0].candidate.fidelity): self._values(runs)[0]}

    def _reports(self, turn: Mapping[str, Sequence[Outcome]]) -> dict[int, Report]:
        """What the trials of a turn told, by number; one of which a seed failed told nothing."""
        reports = {}
        for point, runs in turn.items():
            if any(outcome.failure for outcome in runs):
                reports[_number(point)] = Report(failed=True)
            else:
                whole = runs[0].candidate.fidelity.is_whole
                value = self._values(runs)[0] if whole else None
                reports[_number(point)] = Report(self._reported(runs), value)
        return reports


def _step(budget: Fidelity) -> int:
    """At which step a trial tells what it is worth: its least share, in percent."""
    return round(100.0 * min((*budget.stages.values(), budget.questions)))


def _number(point: str) -> int:
    return int(point.partition(":")[0])


def _turns(outcomes: Iterable[Outcome]) -> list[dict[str, list[Outcome]]]:
    """Outcomes turn by turn, in the order of trials."""
    turns: dict[int, dict[str, list[Outcome]]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: _number(outcome.candidate.point)):
        turns.setdefault(outcome.turn, {}).setdefault(outcome.candidate.point, []).append(outcome)
    return [turns[key] for key in sorted(turns)]
