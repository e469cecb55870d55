"""The tables of a study as data frames, e.g. `tables.rounds(load("micro/rounds"))` in a notebook.

Here are those that the paper has too (rounds; arms of fusion, resolution, experts, pre-alignment)
and the cost; what experts contribute, how sure it all is, how fragile each choice is and which
answers flipped come from next door.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from ablate.catalog.adapters import label, labels
from ablate.catalog.axes import AXES, Axis
from ablate.catalog.step_kinds import EVALUATE
from ablate.design.objective import DEFAULT
from ablate.reports.contributions import contributions as contributions
from ablate.reports.contributions import moves as moves
from ablate.reports.contributions import pairs as pairs
from ablate.reports.fairness import fairness as fairness
from ablate.reports.fairness import words
from ablate.reports.flips import flips as flips
from ablate.reports.fragility import fragility as fragility
from ablate.reports.frame import ends, estimate, framed, typed
from ablate.reports.looks import left_out, look_lines
from ablate.reports.model import CandidateResult, StepResult, StudyResult, best_first
from ablate.reports.references import lines as reference_lines
from ablate.reports.references import references as references
from ablate.reports.significance import below, marks, standing
from ablate.reports.significance import significance as significance
from ablate.reports.sizes import pareto_front, size

LONGEST = 200
"""Characters of the reason for which a candidate failed; its page in the report has all of it."""


def rounds(study: StudyResult) -> pd.DataFrame:
    """A row a candidate, round by round, the best first: score, interval, delta, each task.

    With several seeds the score is their mean, `spread` their standard deviation.
    `delta` is against the previous round's winner; `mark`: see `standing`; `reason`: why it failed;
    `note`, where there is one: what in a candidate's fusion had no effect. What stands from `key`
    on is for machines, in CSV and JSON alone: see `facts`.
    """
    ranked = [candidate for turn in study.rounds for candidate in best_first(turn.candidates)]
    rows = [
        {"round": candidate.round, **row}
        for candidate, row in zip(ranked, _rows(study, ranked), strict=True)
    ]
    return typed(pd.DataFrame(rows))


def arms(study: StudyResult) -> pd.DataFrame:
    """A row an arm, in the study's order: score, interval, delta against the base arm, tasks.

    Behind its name stands what the paper's table of the study's axis has there; see `VARIED`.
    """
    if not study.candidates:  # all of them are tried in part as yet
        return framed([], ["candidate", "mark", "reason", "score"])
    varied = columns_of(study)
    frame = pd.DataFrame(_rows(study, study.candidates)).drop(columns=list(varied), errors="ignore")
    for column, (name, of) in enumerate(varied.items(), start=1):
        frame.insert(
            column, name, pd.Series([of(candidate) for candidate in study.candidates], dtype=object)
        )
    return typed(frame)


Fact = Callable[[CandidateResult], str | float | None]
"""What an arm varies, or what that makes of it."""


def _unfrozen(candidate: CandidateResult) -> str:
    stages = [step.spec["stage"] for step in candidate.last_stages]
    adapters = (stage.get("adapters", {}).get("encoders") for stage in stages)
    if adapted := dict.fromkeys(label(adapter) for adapter in adapters if adapter):
        return ", ".join(adapted)
    return "yes" if any("encoders" in stage["train"] for stage in stages) else "no"


def _adapters(candidate: CandidateResult) -> str:
    adapted = (labels(step.spec["stage"].get("adapters", {})) for step in candidate.last_stages)
    return ", ".join(filter(None, dict.fromkeys(adapted))) or "none"


def _prealigned(candidate: CandidateResult) -> str:
    return "yes" if any(step.about.per_expert for step in candidate.steps) else "no"


def _objective(candidate: CandidateResult) -> str:
    objectives = (
        words(step.spec["stage"].get("objective", DEFAULT)) for step in candidate.last_stages
    )
    return ", ".join(dict.fromkeys(objectives))


def _chosen(axis: Axis) -> Mapping[str, Fact]:
    """What an arm chooses on an axis of the design, and the visual tokens that come of it."""
    return {
        axis.name: lambda candidate: axis.label(candidate.config.get(axis.name, axis.default)),
        "visual_tokens": lambda candidate: size(candidate).visual_tokens,
    }


VARIED: Mapping[str, Mapping[str, Fact]] = {
    "fusion": {
        "fusion": lambda candidate: candidate.fusion,
        "visual_tokens": lambda candidate: size(candidate).visual_tokens,
        "tokens_per_second": lambda candidate: size(candidate).tokens_per_second,
    },
    "resolution": {
        "resolution": lambda candidate: int(
            candidate.encoders[0].rpartition("@")[2].partition(":")[0]
        ),
        "unfrozen": _unfrozen,
    },
    **{name: _chosen(axis) for name, axis in AXES.items()},
    "objective": {"objective": _objective},
    "adapter": {"adapters": _adapters},
    "expert": {"encoders": lambda candidate: " + ".join(candidate.encoders)},
    "pre-alignment": {
        "unfrozen": _unfrozen,
        "prealigned": _prealigned,
    },
}
"""By a study's axis the columns of its arms: how each fuses, the visual tokens it makes and how
quickly they are read; its connector, tiling or injection; the base encoder's side in pixels, and
whether the last stage trains encoders; the encoders; whether they were pre-aligned; by which
objective and adapters the last stage trains."""


def columns_of(study: StudyResult) -> Mapping[str, Fact]:
    """The columns that a table of candidates side by side has behind their names: see `VARIED`; of
    a search with several objectives whether they are on its front, and what no other column has."""
    if not study.objectives:
        return VARIED.get(study.strategy.differs_in, {})

    def of(objective: str) -> Fact:
        return lambda candidate: study.objectives.get(candidate.name, {}).get(objective)

    names = dict.fromkeys(name for objectives in study.objectives.values() for name in objectives)
    weighed = {name: of(name) for name in names if name != "score" and name not in study.tasks}
    return {"front": lambda candidate: "front" if candidate.name in study.front else "", **weighed}


def cells(study: StudyResult) -> pd.DataFrame:
    """A row a candidate and benchmark: score and difference there, each with its interval."""
    return pd.concat(cells_by_benchmark(study), ignore_index=True)


def cells_by_benchmark(study: StudyResult) -> Iterator[pd.DataFrame]:
    """The rows of `cells` that each benchmark has: of many candidates all would fill the memory."""
    board = study.scoreboard
    scored = [candidate for candidate in study.candidates if candidate.answered]
    pairs = [(candidate, study.reference(candidate)) for candidate in scored]
    asked = {task: title for task, title in study.tasks.items() if task in board.tasks}
    for task, title in asked.items():
        rows = [
            {
                "candidate": candidate.name,
                "benchmark": title,
                "score": candidate.scores[task],
                **ends("score", board.score(candidate, (task,))),
                **estimate("delta", delta),
                "unread": candidate.unread.get(task, 0),
            }
            for candidate, delta in zip(scored, board.differences(pairs, (task,)), strict=True)
        ]
        yield typed(pd.DataFrame(rows))
    if not asked:
        yield framed([], ["candidate", "benchmark", "score", "delta", "unread"])


def cost(study: StudyResult) -> pd.DataFrame:
    """A row a candidate: its score and what it takes; `front` marks the Pareto front.

    `front` is by score and visual tokens; see `sizes` for the columns.
    """
    sizes = {candidate: size(candidate) for candidate in study.candidates}
    scored = [candidate for candidate in study.candidates if candidate.composite is not None]
    front = pareto_front(scored, lambda candidate: sizes[candidate].visual_tokens)
    rows = [
        {
            "candidate": candidate.name,
            "score": candidate.composite,
            **ends("score", study.scoreboard.score(candidate)),
            "front": "front" if candidate in front else "",
            "visual_tokens": size_of.visual_tokens,
            "parameters": size_of.parameters,
            "trainable": size_of.trainable,
            "vision_gflops": size_of.vision_flops and size_of.vision_flops / 1e9,
            "tokens_per_second": size_of.tokens_per_second,
            "device_hours": size_of.device_hours,
        }
        for candidate, size_of in sizes.items()
    ]
    return typed(pd.DataFrame(rows))


def comparison(study: StudyResult) -> pd.DataFrame:
    """The main table of a study: `rounds` of a search, `arms` otherwise."""
    return rounds(study) if study.strategy.goes_on else arms(study)


def caption(study: StudyResult) -> str:
    """The title of the main table, and what its differences are against."""
    against = "the previous round's winner" if study.strategy.goes_on else study.base.name
    return f"{study.title} (differences against {against})"


def notes(study: StudyResult) -> list[str]:
    """What stands below the main table."""
    apart = reference_lines(study)
    return [
        *apart,
        *fronts(study),
        *below(study),
        *marks(study),
        *look_lines(study),
        *left_out(study),
        *served(study),
    ]


def served(study: StudyResult) -> list[str]:
    """Whose answers a server has generated in place of the model itself."""
    by: dict[str, dict[str, None]] = {}
    for candidate in study.candidates:
        for step in candidate.steps:
            result = step.record.get("result") or {}
            if step.kind == EVALUATE and (who := result.get("generated_by")):
                by.setdefault(" and ".join(who), {})[candidate.name] = None
    return [
        f"Answers generated by {who}: {', '.join(names)}. Others are the model's own; the two "
        "differ where the likeliest tokens are as likely as each other, up to rounding."
        for who, names in by.items()
    ]


def fronts(study: StudyResult) -> list[str]:
    """Of a search with several objectives who is on its front, and what that leaves out."""
    if not study.objectives:
        return []
    words = [objective.replace("_", " ") for objective in next(iter(study.objectives.values()))]
    return [
        f"On the front of {', '.join(words[:-1])} and {words[-1]}, where no other is at least as "
        f"good in all and better in one: {'; '.join(study.front)}. It is of the values as they "
        "were found, and knows neither the choice of questions nor training noise."
    ]


def costs(study: StudyResult) -> pd.DataFrame:
    """A row a stage, and one of evaluations: how many steps, seconds, what sharing them saved."""
    rows = []
    for name in study.stages:
        steps = [step for step in study.steps.values() if step.name == name]
        uses = {step.key: len(study.used_by[step.key]) for step in steps}
        rows.append(
            {
                "kind": name,
                "steps": len(steps),
                "done": sum(step.status == "done" for step in steps),
                "seconds": sum(step.seconds for step in steps),
                "device_seconds": sum(step.device_seconds for step in steps),
                "reused": sum(uses.values()) - len(steps),
                "saved": sum(step.seconds * (uses[step.key] - 1) for step in steps),
            }
        )
    frame = pd.DataFrame(rows)
    total = frame["seconds"].sum()
    frame["share"] = 100 * frame["seconds"] / total if total else 0.0
    return typed(frame)


def reason(candidate: CandidateResult) -> str | None:
    """Why a candidate failed, in a short line: the step and its message; None if it did not."""
    if candidate.failure is None:
        return None
    step, error = candidate.failure
    line = " ".join(f"{named(step)}: {error['message']}".split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def named(step: StepResult) -> str:
    """A step of a candidate as it is look_lines from its others."""
    return f"{step.name} {step.slug}" if step.about.per_expert else step.name


def _rows(study: StudyResult, candidates: Sequence[CandidateResult]) -> list[dict[str, Any]]:
    deltas = study.scoreboard.differences(
        [(candidate, study.reference(candidate)) for candidate in candidates]
    )
    seeds = max((len(candidate.config["seeds"]) for candidate in study.candidates), default=1)
    noted = any(candidate.notes for candidate in candidates)
    return [
        {
            "candidate": candidate.name,
            "mark": standing(study, candidate),
            "reason": reason(candidate),
            **({"note": " ".join(candidate.notes) or None} if noted else {}),
            "score": candidate.composite,
            **ends("score", study.scoreboard.score(candidate)),
            **({"spread": candidate.spread} if seeds > 1 else {}),
            **estimate("delta", delta),
            **{title: candidate.scores.get(task) for task, title in study.tasks.items()},
            "seconds": _seconds(candidate),
            **facts(candidate),
        }
        for candidate, delta in zip(candidates, deltas, strict=True)
    ]


def facts(candidate: CandidateResult) -> dict[str, str | float | None]:
    """What a machine wants beside the numbers: keys (of each seed's evaluation) and seeds, those
    of several divided by blanks; parameters; visual tokens of an image; answers that were not read.
    """
    measured = size(candidate)
    keys = [step.key[:12] for step in candidate.steps if step.kind == EVALUATE]
    return {
        "key": " ".join(keys),
        "seeds": " ".join(map(str, candidate.config["seeds"])),
        "parameters": measured.parameters,
        "visual_tokens": measured.visual_tokens,
        "unread": sum(candidate.unread.values()) if candidate.answered else None,
    }


def _seconds(candidate: CandidateResult) -> float | None:
    """What its steps took together; None while a record is missing."""
    known = all(step.record for step in candidate.steps)
    return (known and sum(step.seconds for step in candidate.steps)) or None
