"""What commands print with `--json`, as JSON schemas: `ablate schema COMMAND` shows one.

A field that is here stays, with its meaning; further ones may come, so a reader passes over what it
does not know. Columns of tables and of lists hang on the study and on what is listed.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ablate.commands.output import emit_json
from ablate.driver.events import EventKind
from ablate.errors import UserError, nearest

Row = dict[str, Any]
State = Literal["waiting", "running", "done", "failed", "gone"]


class StepName(BaseModel):
    """A step. `stage`: what the recipe calls it; `key`: 64 hex digits."""

    kind: str
    stage: str
    slug: str
    key: str


class Decision(BaseModel):
    """How a round was decided."""

    round: int
    winner: str
    runner_up: str | None
    scores: dict[str, float]
    tie: bool | None
    rule: str
    failed: dict[str, str]


class PlannedCandidate(BaseModel):
    name: str
    round: int
    provisional: bool
    encoders: list[str]
    fusion: Row
    llm: str
    seed: int
    steps: list[str]
    visual_tokens: int
    parameters: int
    trainable_parameters: int
    gpu_hours: float


class PlannedStep(StepName):
    """`flops`, `gpu_hours`, `gpu_memory_gib`, `recomputed`: null where that is not known."""

    state: State
    cached: bool
    used_by: list[str]
    flops: float | None
    gpu_hours: float | None
    gpu_memory_gib: float | None
    recomputed: dict[str, int] | None


class DataSet(BaseModel):
    rows: int | None
    here: bool


class Plan(BaseModel):
    """`ablate plan` without `--strategy`, and `ablate run --dry-run`."""

    study: str
    title: str
    seeds: list[int]
    adds_seeds: bool
    candidates: list[PlannedCandidate]
    steps: list[PlannedStep]
    totals: Row
    data: dict[str, DataSet]
    references: list[dict[str, str]] = []


class RunEvent(BaseModel):
    """A line of `ablate run --json`.

    `done`, `total`: steps of the study; `seconds`: of a step that is done. The last line is
    `finished`: then `failures` has why candidates have no score, `best` the best one's name, and
    `report` the path of the first page. Other than that, an event has what it is about.
    """

    event: EventKind | Literal["finished"]
    study: str
    done: int
    total: int
    step: StepName | None = None
    seconds: float | None = None
    message: str | None = None
    decision: Decision | None = None
    failures: list[str] | None = None
    best: str | None = None
    report: str | None = None


class CandidateStatus(BaseModel):
    name: str
    seed: int
    mark: str
    state: State
    score: float | None
    failure: str | None


class RoundStatus(BaseModel):
    number: int
    round: int
    provisional: bool
    decision: Decision | None
    candidates: list[CandidateStatus]


class StepState(StepName):
    state: State


class Status(BaseModel):
    """`ablate status`; with `--watch` a line a move."""

    study: str
    id: str
    complete: bool
    seconds_left: float | None
    drivers: list[Row]
    driver_error: str | None
    rounds: list[RoundStatus]
    steps: list[StepState]


class Table(BaseModel):
    """`ablate table`: a row a candidate, or a benchmark; `notes`: what to know of it."""

    rows: list[Row]
    notes: list[str]


class Query(BaseModel):
    """`ablate query`."""

    columns: list[str]
    rows: list[Row]


class Report(BaseModel):
    """`ablate report`: the path of its first page."""

    study: str
    id: str
    path: str


class Logs(BaseModel):
    """`ablate logs`."""

    step: str
    paths: list[str]
    text: str


class Noise(BaseModel):
    """`ablate noise`: by task, and of the mean of all."""

    study: str
    recipe: str
    suite: str
    noise: dict[str, Row]


class Side(BaseModel):
    study: str
    candidate: str


class Comparison(BaseModel):
    """`ablate compare`: `b` minus `a`."""

    a: Side
    b: Side
    settings: list[Row]
    benchmarks: list[Row]
    mean: Row
    notes: list[str]
    fairness: list[Row]
    flips: list[Row]


class Need(BaseModel):
    kind: str
    names: list[str]


class Fetch(BaseModel):
    """`ablate fetch`."""

    study: str
    complete: bool
    needs: list[Need]


class ReplayedRound(BaseModel):
    round: int
    candidates: list[Row]
    decision: Decision | None


class Replay(BaseModel):
    """`ablate replay` without `--repeat`."""

    study: str
    strategy: str
    source: str
    rounds: list[ReplayedRound]
    path: list[str]
    best: Row | None
    notes: list[str]


class Strategy(BaseModel):
    """What a strategy came to in so many repetitions. Shares are 0..1, null where not known."""

    repetitions: int
    right: float
    good: float
    best_dropped: float | None
    best_given_up: float | None
    hours: float | None
    hours_at_worst: float | None
    share_of_all: float | None


class RepeatedStrategy(Strategy):
    strategy: str


class RepeatedReplay(BaseModel):
    """`ablate replay --repeat`. `hours` are of `unit`; `noise`: points of a run; `crossing`: by
    kind of step, with each halving."""

    study: str
    source: str
    noise: float
    crossing: dict[str, float]
    indifference: float
    unit: str
    designs: int
    filled: list[str]
    hours_of_all: float | None
    strategies: list[RepeatedStrategy]


class Forecast(Strategy):
    """`if`: how the truth may lie."""

    if_: str = Field(alias="if")


class StrategyPlan(BaseModel):
    """`ablate plan --strategy`."""

    study: str
    strategy: str
    noise: float
    noise_is: Literal["given", "measured", "assumed"]
    indifference: float
    unit: str
    designs: int
    hours_of_all: float | None
    hours_at_worst: float | None
    forecasts: list[Forecast]


class ProxyRate(BaseModel):
    """A proxy and, where a round has two scores, its hit rate."""

    title: str
    rounds: int | None = None
    hits: int | None = None
    rank: float | None = None
    fit: float | None = None
    left_out: float | None = None
    regret: float | None = None
    worst: float | None = None
    keep: int | None = None


class ProxiedCandidate(BaseModel):
    """Beside these fields every proxy's number by its name, null where it has none."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]
    name: str
    round: int
    score: float | None


class Proxies(BaseModel):
    """`ablate proxy`; `cka`: how alike any two encoders see."""

    study: str
    proxies: dict[str, ProxyRate]
    candidates: list[ProxiedCandidate]
    cka: dict[str, dict[str, float]]


class Masks(BaseModel):
    """`ablate mask`: a row an expert, an expert and family, a family, two experts, a mask."""

    study: str
    candidate: str
    way: Literal["zeros", "mean"]
    experts: list[Row]
    utilisation: list[Row]
    gaps: list[Row]
    pairs: list[Row]
    masks: list[Row]
    rank_correlation: float | None
    seconds: float


class ExplainedCandidate(Side):
    """`shares`: in per cent, by expert; `maps`: rows of each expert's grid."""

    answer: str
    shares: dict[str, float]
    maps: dict[str, list[list[float]]]


class Explanation(BaseModel):
    """`ablate explain` of a question; `picture`: the path of what it wrote."""

    question: str
    truth: str | None
    picture: str
    candidates: list[ExplainedCandidate]


class ExplainedForReport(Side):
    """`ablate explain --report`: by kind task and id of each answer."""

    answers: dict[str, list[tuple[str, str]]]


class Finding(BaseModel):
    """`ablate doctor` gives a list of these."""

    check: str
    status: Literal["ok", "note", "problem"]
    found: str
    remedy: str


SCHEMAS: dict[str, Any] = {
    "bake": dict[str, str],
    "compare": Comparison,
    "doctor": list[Finding],
    "explain": Explanation | ExplainedForReport,
    "fetch": Fetch,
    "list": list[Row],
    "logs": Logs,
    "mask": Masks,
    "noise": Noise,
    "plan": Plan | StrategyPlan,
    "proxy": Proxies,
    "query": Query,
    "replay": Replay | RepeatedReplay,
    "report": Report,
    "run": RunEvent,
    "status": Status,
    "table": Table,
}
"""By the command's name; of `bake` the folder of each weights."""


def schema(command: str) -> dict[str, Any]:
    """The JSON schema of what the command prints; of `run`, of a line."""
    written = TypeAdapter(SCHEMAS[command]).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **written}


def show(command: str | None) -> None:
    """Print the schema of a command, or of each by its name."""
    if command is None:
        emit_json({name: schema(name) for name in SCHEMAS})
    elif command in SCHEMAS:
        emit_json(schema(command))
    else:
        raise UserError(f"'{command}' prints no JSON of a schema{nearest(command, SCHEMAS)}")
