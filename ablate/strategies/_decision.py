"""What a turn of a search came to: who goes on, and why."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ablate.design import Candidate
from ablate.design.fidelity import WHOLE, Fidelity
from ablate.strategies._sieve import Sifted

if TYPE_CHECKING:
    from ablate.stats.noise import Noise


class Result(Protocol):
    """A candidate's scores: `composite` and, by task, `scores` in 0..100; `key`: of its evaluation.

    `answers`: where its answers lie, None where the scores are all that is known.
    """

    @property
    def key(self) -> str: ...
    @property
    def scores(self) -> Mapping[str, float]: ...
    @property
    def composite(self) -> float: ...
    @property
    def answers(self) -> str | None: ...
    def floor(self, others: Iterable[Any]) -> "Noise | None":
        """Training noise of such a run that was measured elsewhere; `others`: results at hand."""

    def rows(self) -> list[dict[str, Any]]:
        """The answers: task, id, image, score (0..1), weight; none where only scores are known."""


@dataclass(frozen=True)
class Outcome:
    """How a candidate ended: with a result, or failed for a reason; in which turn, by number.

    `cost`: what it takes, by name: see `search.costs`.
    """

    candidate: Candidate
    result: Result | None
    failure: str = ""
    turn: int = 0
    cost: Callable[[str], float] | None = field(default=None, compare=False)


def by_point(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of each design point."""
    by_point: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_point.setdefault(outcome.candidate.point, []).append(outcome)
    return by_point


def alike(runs: Sequence[Outcome]) -> list[Outcome]:
    """Those of the runs that are of the same fidelity as the last."""
    return [
        outcome for outcome in runs if outcome.candidate.fidelity == runs[-1].candidate.fidelity
    ]


def mean(runs: Sequence[Outcome]) -> float:
    """The mean composite of runs that all have a result."""
    scores = [outcome.result.composite for outcome in runs if outcome.result]
    return sum(scores) / len(scores)


@dataclass(frozen=True)
class Standing:
    """Where a point stands at a look. Points are those of scores in 0..100.

    `runs`: how many of it were looked at; `score`: their mean; `behind`: how far it is behind the
    one that leads; `bound`: the most that it may be ahead of it for all that is known, None where
    that is not known. `mark`: `leads`, `goes on`, `dropped`, `equal` (ahead by no more than anybody
    cares about, if at all) or `not told apart`; and `why` in a few words.
    """

    runs: int
    score: float
    behind: float
    bound: float | None
    mark: str
    why: str = ""


@dataclass(frozen=True)
class Look:
    """One look at candidates while it is not decided which of them is best.

    `open`: the points of which more is to be seen; none once the round is decided. `standings`: by
    point. `error`: the risk of dropping the best that all looks of a round may take together, of
    which this one `spent` so much, None where nobody promises one; `correct`: the probability that
    the leader is the best one, as far as it is known. `notes`: what else the bounds rest on, in
    sentences.
    """

    open: tuple[str, ...]
    standings: Mapping[str, Standing]
    error: float | None
    spent: float | None
    correct: float | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Look":
        """The look that a decision's JSON holds."""
        standings = {point: Standing(**standing) for point, standing in value["standings"].items()}
        lists = {name: tuple(value[name]) for name in ("open", "notes")}
        return cls(**{**value, **lists, "standings": standings})


@dataclass(frozen=True)
class Choice:
    """What a strategy makes of a turn: the points that go on, the best first; by point the runs
    that it was scored by, all at one fidelity; of a round of several turns, the look; and, where
    it reads more than the score, its `values` by point."""

    survivors: tuple[str, ...]
    runs: Mapping[str, Sequence[Outcome]]
    look: Look | None = None
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """The outcome of a turn. Scores are composites in 0..100, by the name of the design point.

    `survivors`: the points that go on, the best first, which is the `winner`.
    `difference` and `interval` (95 %, paired bootstrap over images, and over seeds where there are
    several) are winner minus runner-up; the interval is None where only scores are known. `tie`
    says that it includes zero, and is None where that is not known: without an interval, or where
    it does not but training noise is not in it, as of one run each. `inputs`: the keys of the
    evaluations behind it. `unread`: by point and task how many answers the scorer could not read.
    `fidelity`: how much of each candidate was trained and asked. `look`: of a round of several
    turns. `values`: by point what else the strategy read, where it reads more than the score.
    `noise`: the training noise of other runs that is in the interval, as it was known then (fields
    of `stats.noise.Noise`); None where nobody had measured it.
    `filter`: what was left out of the round before it trained.
    """

    round: int
    winner: str
    survivors: tuple[str, ...]
    runner_up: str | None
    scores: dict[str, float]
    difference: float | None
    interval: tuple[float, float] | None
    tie: bool | None
    rule: str
    failed: dict[str, str]
    inputs: list[str]
    unread: dict[str, dict[str, int]]
    fidelity: Fidelity = field(default=WHOLE)
    look: Look | None = None
    values: dict[str, tuple[float, ...]] = field(default_factory=dict)
    noise: dict[str, float] | None = None
    filter: Sifted | None = None

    @property
    def settled(self) -> bool:
        """Whether it decides its round, and is no look after which more is to be seen."""
        return self.look is None or not self.look.open

    def mark(self, point: str) -> str:
        """What it makes of a point: `winner`, or how that stands at a look; else nothing."""
        standing = self.look.standings.get(point) if self.look else None
        none = standing is not None and standing.mark == "dropped"  # as all of a turn may be
        none |= any(len(values) > 1 for values in self.values.values())  # no one wins in several
        if self.settled and point == self.winner and not none:
            return "winner"
        return standing.mark if standing else ""

    def to_json(self) -> dict[str, Any]:
        """The decision as it is stored; what came later is left out where there is nothing."""
        record = {**asdict(self), "interval": list(self.interval) if self.interval else None}
        record["survivors"] = list(self.survivors) if len(self.survivors) > 1 else None
        record["fidelity"] = self.fidelity.model_dump(mode="json") or None
        if self.look:
            record["look"] |= {name: list(record["look"][name]) for name in ("open", "notes")}
        record["values"] = {point: list(values) for point, values in self.values.items()}
        if self.filter:
            record["filter"]["left_out"] = list(self.filter.left_out)
        later = ("survivors", "fidelity", "look", "values", "noise", "filter")
        return {name: value for name, value in record.items() if value or name not in later}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Decision":
        """The decision that `to_json` gave."""
        parts = {
            "interval": tuple(value["interval"]) if value["interval"] else None,
            "survivors": tuple(value.get("survivors", (value["winner"],))),
            "fidelity": Fidelity(**value.get("fidelity", {})),
            "look": Look.from_json(value["look"]) if "look" in value else None,
            "values": {name: tuple(values) for name, values in value.get("values", {}).items()},
            "filter": Sifted.from_json(value["filter"]) if "filter" in value else None,
        }
        return cls(**{**value, **parts})
