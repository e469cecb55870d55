"""What a search strategy is, and what it is told: the rounds before, and the study around it."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Self

from ablate.catalog.axes import AXES
from ablate.catalog.data_sources import DataSource
from ablate.catalog.published import Table
from ablate.design import Candidate, Design, checked, encoder_spec, require_distinct
from ablate.design.fidelity import WHOLE, Fidelity
from ablate.errors import UserError, nearest
from ablate.parsing.tree import Located, assign
from ablate.parsing.validation import Fields, error_location, validated
from ablate.strategies._decision import Choice, Decision, Outcome, alike, mean
from ablate.strategies._sieve import Sieve


@dataclass(frozen=True)
class Trial:
    """A design to try: with which `seeds` (None: the study's), and how much of it."""

    design: Design
    seeds: tuple[int, ...] | None = None
    fidelity: Fidelity = WHOLE


@dataclass(frozen=True)
class Round:
    """One turn. `provisional`: its designs hang on a choice that is still open, so they are those
    that follow if the first of that round wins. `decision`: None while open, or if all have failed.
    `survivors`: the designs that go on, the best first; without a decision the first ones.
    `round`: the number of the round that it is a turn of, which is its own number where each round
    has one turn. A turn with a point of the one before is of the same round. `ended`: whether all
    of its candidates have.
    """

    number: int
    candidates: tuple[Candidate, ...]
    provisional: bool
    decision: Decision | None
    survivors: tuple[Design, ...] = ()
    round: int = 0
    ended: bool = False

    @property
    def points(self) -> tuple[str, ...]:
        """The names of its designs, in order."""
        return tuple(dict.fromkeys(candidate.point for candidate in self.candidates))

    def mark(self, point: str) -> str:
        """What is decided of a point: see `Decision.mark`."""
        return self.decision.mark(point) if self.decision else ""


@dataclass(frozen=True)
class Context:
    """The study that a strategy's fields stand in, to check them against.

    `base`: its base design, checked; `tree`: the study as written; `data`: its sources by name;
    `published`: the published table that it names; `tasks`: those of its suite. `parts`: fusions
    and recipes of its variants, by what they say.
    """

    base: Design
    tree: Located
    data: Mapping[str, DataSource]
    published: Table | None
    tasks: tuple[str, ...] = ()
    parts: dict[str, Fields] = field(default_factory=dict, repr=False)

    def at(self, *path: str | int) -> AbstractContextManager[None]:
        """Puts file, line and field before an error raised inside; `path`: below `explore`."""
        return error_location(self.tree, ["explore", *path])

    def written(self, *path: str | int) -> Located:
        """What is written there below `explore`, each value with its place."""
        return self.tree.at(["explore", *path])

    def encoders(self, field: str, titles: Sequence[str], *below: str) -> tuple[str, ...]:
        """The full titles of the encoders in a field, or `below` it.

        Raises UserError for one that is unknown, in the base already, or there twice.
        """
        encoders = []
        for n, title in enumerate(titles):
            with self.at(field, *below, n):
                encoders.append(encoder_spec(title).title)
                if encoders[-1] in self.base.encoders:
                    raise UserError(f"'{encoders[-1]}' is in the base already")
        with self.at(field, *below):
            require_distinct(encoders)
        return tuple(encoders)

    def variant(self, changes: Mapping[str, Located]) -> Design:
        """The base with these values at their dotted paths, checked; errors point to the values.

        Variants share the parts that are equal: of thousands the memory is small, and what is made
        of a part, such as its JSON, is made once.
        """
        tree = self.tree.value["base"]
        for path, value in changes.items():
            tree = assign(tree, path, value, value.where)
        design = checked(validated(Design, tree, ["base"]), tree, self.data)
        parts = {"fusion": design.fusion, "recipe": design.recipe}
        shared = {
            name: self.parts.setdefault(part.model_dump_json(), part)
            for name, part in parts.items()
        }
        shared |= {
            name: base
            for name in AXES
            if (base := getattr(self.base, name)) == getattr(design, name)
        }
        return design.model_copy(update=shared)

    def check_budgets(self, field: str, budgets: Sequence[Fidelity]) -> None:
        """Raise UserError unless each of the budgets in a field is less than the next, and the last
        is all of a candidate."""
        stages = self.base.recipe.stages()
        with self.at(field):
            if not budgets or not budgets[-1].is_whole:
                raise UserError("the last budget is {}, all of a candidate")
            for budget in budgets:
                for name in budget.stages:
                    if name not in stages:
                        raise UserError(f"no stage '{name}'{nearest(name, stages)}")
            for less, more in pairwise(budgets):
                if less == more or not less.within(more):
                    raise UserError(f"{less.words or 'all'} is not less than {more.words or 'all'}")

    def require_row(self, row: str) -> None:
        """Raise UserError unless the published table that the study names has such a row."""
        if self.published is None:
            raise UserError(f"'{row}' is a row, but the study names no `published` table")
        self.published.row(row)


@dataclass(frozen=True)
class OptunaView:
    """How the trials of a strategy that Optuna leads stand in a storage of Optuna's.

    `storage`: `journal`, or a database's address; `objectives`: their directions by name;
    `distributions` of the parameters, and the parameters (`params`) of each point; `values`: the
    objectives of runs of one point, `reported`: what they are worth by step.
    """

    storage: str
    objectives: Mapping[str, str]
    distributions: Callable[[], Mapping[str, Any]]
    params: Mapping[str, Mapping[str, Any]]
    values: Callable[[Sequence[Outcome]], tuple[float, ...]]
    reported: Callable[[Sequence[Outcome]], Mapping[int, float]]


class Strategy(Fields):
    """How a study is explored: fields are what it may say under `explore:`, methods what follows.

    All of it is a pure function of its arguments, so that a search that was killed and is asked
    again proposes the same. `example`: fields of a small study that extends `micro/base`, on which
    contract tests run.
    """

    example: ClassVar[Mapping[str, Any]]
    goes_on: ClassVar[bool] = True
    """Whether the best of a round goes on into the next one: then candidates are held against the
    winner before, and shown round by round; else they stand side by side, held against the base."""
    noun: ClassVar[str] = "candidate"
    """What one of its designs is called."""
    assumption: ClassVar[str] = "if the first of the round before wins"
    """What a provisional round supposes."""
    looks: ClassVar[bool] = False
    """Whether a round may take several turns, each a look at what is trained so far. Such a
    strategy is asked for the next turn also where the last is not decided, and what it decides may
    rest on all results before."""
    guesses: ClassVar[bool] = False
    """Whether what it shows of turns to come is a mere guess while one is open: it hangs on every
    result, and nothing of it is begun."""

    kind: str

    @property
    @abstractmethod
    def planned_rounds(self) -> int:
        """How many rounds the study makes."""

    def most_rounds(self, base: Design) -> int:
        """How many rounds may be asked for; default: those planned."""
        return self.planned_rounds

    @property
    def rule(self) -> str:
        """How it chooses, as it is written down; a decision by another rule is made anew."""
        return "highest composite (mean over seeds); equal ones by name"

    @property
    def costs(self) -> tuple[str, ...]:
        """What it has to know of a candidate beside its scores: see `Outcome.cost`."""
        return ()

    @property
    def sieve(self) -> Sieve | None:
        """What leaves candidates out of a round before they train; default: nothing."""
        return None

    @property
    def keeps(self) -> int:
        """How many designs of a round go on; default: the winner alone."""
        return 1

    def resolved(self, study: Context) -> Self:
        """The same with full names, where the study is loaded. Raises UserError for a mistake."""
        return self

    def restrict(self, require_built: Callable[[Design], None]) -> None:
        """Propose from now on only designs for which this raises no UserError.

        Default: it is left to who wrote the study, who is told before anything is launched.
        """

    def named_llms(self, written: Located) -> Iterable[Located]:
        """Where its fields, as `written`, name language models; default: nowhere.

        `ablate fetch` gets them before the study is checked, which it is only when they are here.
        """
        return ()

    def shelf(self, base: Design) -> tuple[str, ...]:
        """Every encoder that a candidate may have, by its full title; default: the first round's.

        What else a candidate needs (language models, data), one of the first round has.
        """
        designs = self.designs(base, ()).values()
        return tuple(dict.fromkeys(title for design in designs for title in design.encoders))

    @abstractmethod
    def designs(self, base: Design, before: Sequence[Round]) -> Mapping[str, Design]:
        """The designs of the round after these, each by a name that no other round has.

        They depend on the base and on what was proposed and decided `before`, in that order, alone.
        """

    def trials(self, base: Design, before: Sequence[Round]) -> Mapping[str, Trial]:
        """What the turn after these tries, by point; nothing where there is no more to try.

        Default: its `designs`, whole, with the study's seeds. A point may come again, with other
        seeds or more of it, in the turn directly after: then both are of one round.
        """
        return {point: Trial(design) for point, design in self.designs(base, before).items()}

    def choose(self, rivals: Mapping[str, Sequence[Outcome]], history: Sequence[Outcome]) -> Choice:
        """Who of a turn goes on: a pure function of results.

        `rivals`: the turn's points that did not fail, by name, each with all of its outcomes so
        far; `history`: all other outcomes of earlier turns. Default: the best `keeps` by the mean
        composite of what was tried last of each, equal ones by name.
        """
        runs = {point: alike(outcomes) for point, outcomes in rivals.items()}
        ranked = sorted(runs, key=lambda point: (-mean(runs[point]), point))
        return Choice(tuple(ranked[: self.keeps]), runs)

    @property
    def view(self) -> OptunaView | None:
        """How its trials are shown in Optuna's dashboard; None: as candidates of any search."""
        return None

    @property
    def differs_in(self) -> str:
        """What tells its candidates apart, in a word or two, such as `fusion`."""
        return "their mixture"

    @property
    def varies(self) -> tuple[str, ...]:
        """The settings, by dotted path, in which its candidates differ on purpose."""
        return ("encoders",)

    @property
    def heading(self) -> str:
        """What the page of results is called."""
        return "Rounds"

    @property
    def published_rows(self) -> Mapping[str | int, str]:
        """The published rows that it repeats: by a design's name, or, where the best goes on, by
        the number of the round whose winner is held against it."""
        return {}

    def label(self, name: str, encoders: Sequence[str], before: Sequence[str] | None) -> str:
        """A short name of a candidate: what it adds to the mixture of the winner before it, if
        there is one, and what it drops; else its name."""
        if before is None:
            return name
        added = [title for title in encoders if title not in before]
        dropped = [title for title in before if title not in encoders]
        signed = (("+", added), ("-", dropped))
        return " ".join(f"{sign} {', '.join(those)}" for sign, those in signed if those) or name
