"""Optuna's samplers and pruners, asked so that the same told results give the same answer.

Both are replayed: a study in memory is told what came of every trial so far, in order, and asks for
the next ones. So a search that was killed goes on with the very state that its sampler had, and
drivers on several machines agree, as long as they have one version of Optuna.
"""

import copy
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ablate.errors import UserError, nearest
from ablate.files import disk_cache
from ablate.parsing.validation import Fields, Option, mistake
from ablate.strategies._space import Point, Space

if TYPE_CHECKING:
    from optuna import Study

State = Literal["complete", "pruned", "failed"]
SAMPLERS: Mapping[str, str] = {
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "nsgaii": "NSGAIISampler",
    "nsgaiii": "NSGAIIISampler",
    "grid": "GridSampler",
    "random": "RandomSampler",
    "qmc": "QMCSampler",
}
"""Names of samplers, and Optuna's classes."""
PRUNERS: Mapping[str, str] = {
    "hyperband": "HyperbandPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "wilcoxon": "WilcoxonPruner",
}
PLAIN = frozenset({"bool", "int", "float", "str", "None"})
"""Types of the options that a study may give."""
VAIN = 3
"""Points in a row that are none of the space, after which one is drawn at random."""
ATTEMPTS = 1000
"""Points in a row that may be none of the space before there is none."""


@dataclass(frozen=True)
class TrialResult:
    """What came of a trial: its values, in the order of the objectives, and by step what it was
    worth on the way."""

    state: State
    values: tuple[float, ...] = ()
    reported: tuple[tuple[int, float], ...] = ()


class Named(Fields):
    """A sampler or pruner by its name, and options of Optuna's class."""

    name: str
    options: dict[str, Option] = Field(default={})


def _named(kind: str, known: Mapping[str, str]) -> Callable[[Any], Any]:
    """Reads `tpe`, or `{name: tpe, n_startup_trials: 4}`."""

    def read(value: Any) -> Any:
        if isinstance(value, Named):
            return value
        options = {"name": value} if isinstance(value, str) else value
        if not isinstance(options, dict) or not isinstance(options.get("name"), str):
            raise mistake(f"give its name, as in {next(iter(known))}, got {value!r}")
        options = dict(options)
        name = options.pop("name")
        if name not in known:
            raise mistake(f"no {kind} '{name}'{nearest(name, known)}")
        return {"name": name, "options": options}

    return read


SamplerConfig = Annotated[Named, BeforeValidator(_named("sampler", SAMPLERS))]
PrunerConfig = Annotated[Named, BeforeValidator(_named("pruner", PRUNERS))]


@dataclass(frozen=True)
class Sampling:
    """What decides which points are tried, beside what came of those before.

    `directions`: of the objectives; `fits`: whether a point makes a design; `first`: the point to
    begin with, if there is one; `trials`: how many there will be. `made_of`: a JSON value of what
    else decides, which is base and space.
    """

    space: Space
    sampler: Named
    directions: Sequence[str]
    seed: int
    trials: int
    fits: Callable[[Point], bool]
    first: Point | None
    made_of: Any
    _asked: dict[tuple[Any, ...], list[Point]] = field(default_factory=dict)
    _states: dict[tuple[Any, ...], "Study"] = field(default_factory=dict)

    def forget(self) -> None:
        """What was asked for, as other points fit from now on."""
        self._asked.clear()
        self._states.clear()

    def propose(self, results: Sequence[Sequence[TrialResult]], count: int) -> list[Point]:
        """The next points, after turns that were told so.

        They are kept in `home()`, since to replay many trials takes its time.
        """
        history = tuple(map(tuple, results))
        if (history, count) not in self._asked:
            made_with = [self.sampler.model_dump(), list(self.directions), self.seed, self.trials]
            turns = [[astuple(trial) for trial in turn] for turn in history]
            made_of = [version("optuna"), self.made_of, made_with, turns, count]
            asked = disk_cache("optuna", made_of, lambda: self._replayed(history, count))
            if not all(map(self.fits, asked)):  # of a fusion that has changed, say
                asked = self._replayed(history, count)
            self._asked[history, count] = asked
        return self._asked[history, count]

    def _replayed(self, history: tuple[tuple[TrialResult, ...], ...], count: int) -> list[Point]:
        with _quiet(self.sampler.name):
            study = self._after(history)
            return [trial.params for trial in self._ask(study, count)]

    def guess(self, turn: int, count: int) -> list[Point]:
        """Points to show as long as it is not known what came of those before."""
        from optuna import create_study
        from optuna.samplers import RandomSampler

        if (turn, count) not in self._asked:
            with _quiet("random"):
                study = create_study(sampler=RandomSampler(seed=(self.seed + turn) % 2**32))
                self._asked[turn, count] = [trial.params for trial in self._ask(study, count)]
        return self._asked[turn, count]

    def _after(self, history: tuple[tuple[TrialResult, ...], ...]) -> "Study":
        """A study of one's own that was told so: from the longest that is known, step by step.

        States are copied, for who asks a sampler changes it; a few of the last are kept.
        """
        known = next(n for n in range(len(history), -1, -1) if history[:n] in self._states or not n)
        study = copy.deepcopy(self._states.get(history[:known]) or self._begun())
        for n in range(known, len(history)):
            turn = history[n]
            for trial, came in zip(self._ask(study, len(turn)), turn, strict=True):
                self._tell(study, trial, came)
            self._states[history[: n + 1]] = copy.deepcopy(study)
            for old in list(self._states)[:-2]:
                del self._states[old]
        return study

    def _begun(self) -> "Study":
        from optuna import create_study

        made = sampler(self.sampler, self.space, self.seed, self.trials)
        study = create_study(sampler=made, directions=list(self.directions))
        if self.first is not None:
            study.enqueue_trial(dict(self.first))
        return study

    def _ask(self, study: "Study", count: int) -> list[Any]:
        """So many trials; points that are none of the space, or make no design, are told as failed.

        All of them are asked before one is told, so that they are tried side by side.
        """
        from optuna.samplers import RandomSampler
        from optuna.trial import TrialState

        trials: list[Any] = []
        ranges, asked, vain = self.space.distributions(), study.sampler, 0
        for attempt in range(ATTEMPTS + count):
            if len(trials) == count:
                study.sampler = asked
                return trials
            if vain == VAIN and self.sampler.name != "grid":  # one that insists, as gp may
                study.sampler = RandomSampler(seed=(self.seed + attempt) % 2**32)
            trial = study.ask(ranges)
            if self.space.holds(trial.params) and self.fits(trial.params):
                trials.append(trial)
                study.sampler, vain = asked, 0
            else:
                _tell(study, trial, state=TrialState.FAIL)
                vain += 1
        raise UserError(f"{ATTEMPTS} points in a row made no candidate; make the space smaller")

    @staticmethod
    def _tell(study: "Study", trial: Any, came: TrialResult) -> None:
        from optuna.trial import TrialState

        for step, value in came.reported:
            trial.report(value, step)
        if came.state == "complete":
            _tell(study, trial, values=list(came.values))
        else:
            state = TrialState.PRUNED if came.state == "pruned" else TrialState.FAIL
            _tell(study, trial, state=state)


def _tell(study: "Study", trial: Any, **came: Any) -> None:
    try:
        study.tell(trial, **came)
    except RuntimeError as error:
        if "Study.stop" not in str(error):  # how a grid says that it is at its end
            raise


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Without Optuna's words on trials and experiments; what a class raises is a user's mistake."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ImportError, TypeError, ValueError) as error:
        message = " ".join(str(error).split())
        raise UserError(f"Optuna's {name} cannot go on: {message}") from error
    finally:
        optuna.logging.set_verbosity(before)


def sampler(named: Named, space: Space, seed: int, trials: int) -> Any:
    """Optuna's sampler of that name. Raises UserError for an option that it does not have, or where
    the space is none for it."""
    defaults = sampler_defaults(named, space, seed, trials)
    return _made("sampler", SAMPLERS[named.name], named, defaults)


def sampler_defaults(named: Named, space: Space, seed: int, trials: int) -> dict[str, Any]:
    """The options where nothing else is said; UserError where the space is none for the sampler.

    A generation of NSGA is a quarter of the trials, 4 to 50; TPE draws a third of them at random, 4
    to 10.
    """
    if named.name == "cmaes":
        if not space.has_numbers:
            raise UserError("cmaes moves numbers, and the space has none; choose tpe or nsgaii")
        if find_spec("cmaes") is None:
            raise UserError(
                "cmaes needs the package cmaes: pip install 'ablate-vlm[optuna]', or choose tpe"
            )
    defaults: dict[str, Any] = {"seed": seed}
    if named.name == "grid":
        grid = space.grid()
        if grid is None:
            raise UserError(f"a grid needs an end of values: give {space.endless} a step")
        defaults["search_space"] = {name: list(values) for name, values in grid.items()}
    if named.name in {"nsgaii", "nsgaiii"}:
        defaults["population_size"] = max(4, min(50, trials // 4))
    if named.name == "tpe":
        defaults["n_startup_trials"] = max(4, min(10, trials // 3))
    if named.name in {"cmaes", "gp", "qmc"}:
        defaults["warn_independent_sampling"] = False
    return defaults


def pruner(named: Named, first: int, last: int) -> Any:
    """Optuna's pruner of that name, for trials that report from step `first` to step `last`.

    Raises UserError for an option that it does not have.
    """
    defaults: dict[str, Any] = {}
    if named.name in {"hyperband", "successive_halving"}:
        defaults["min_resource"] = first
    if named.name == "hyperband":
        defaults["max_resource"] = last
    if named.name == "percentile":
        defaults["percentile"] = 50.0
    return _made("pruner", PRUNERS[named.name], named, defaults)


def _made(what: str, title: str, named: Named, defaults: Mapping[str, Any]) -> Any:
    import optuna

    cls = getattr(getattr(optuna, f"{what}s"), title)
    known = inspect.signature(cls).parameters.items()
    options = [
        name
        for name, parameter in known
        if PLAIN.issuperset(inspect.formatannotation(parameter.annotation).strip("'").split(" | "))
        and not name.startswith(("seed", "warn_"))
    ]
    for name in named.options:
        if name not in options:
            raise UserError(f"{named.name} has no option '{name}'{nearest(name, options)}")
    try:
        with _quiet(named.name):
            return cls(**{**defaults, **named.options})
    except UserError as error:
        raise UserError(str(error).replace("cannot go on", "does not take its options")) from error


@dataclass(frozen=True)
class Report:
    """What a trial told at the end of a turn: by step what it is worth, and its `value` where it is
    whole; or that it `failed`."""

    steps: Mapping[int, float] = field(default_factory=dict)
    value: float | None = None
    failed: bool = False


def pruned(
    named: Named, ends: tuple[int, int], way: str, turns: Sequence[Mapping[int, Report]]
) -> set[int]:
    """The trials of the last turn that the pruner stops, by number.

    `ends`: the first and the last step at which trials tell; `way`: the direction of their values.
    What was decided after an earlier turn is seen by who is in the later ones.
    """
    from optuna import create_study
    from optuna.samplers import RandomSampler
    from optuna.trial import TrialState

    with _quiet(named.name):
        stops = pruner(named, *ends)
        study = create_study(
            study_name="ablate", direction=way, sampler=RandomSampler(0), pruner=stops
        )
        trials = [study.ask() for _ in range(1 + max(number for turn in turns for number in turn))]
        stopped: set[int] = set()
        for n, turn in enumerate(turns):
            for number, report in turn.items():
                for step, value in report.steps.items():  # `report` takes a step only once
                    study._storage.set_trial_intermediate_value(
                        trials[number]._trial_id, step, value
                    )
            frozen = study.get_trials(deepcopy=False)
            stopped = {
                number
                for number, report in turn.items()
                if not report.failed and report.value is None and stops.prune(study, frozen[number])
            }
            later = {number for other in turns[n + 1 :] for number in other}
            for number, report in turn.items():
                if report.value is not None:
                    study.tell(trials[number], report.value)
                elif report.failed:
                    study.tell(trials[number], state=TrialState.FAIL)
                elif n + 1 < len(turns) and number not in later:
                    study.tell(trials[number], state=TrialState.PRUNED)
    return stopped
