"""`ablate plan`: every candidate and step, what is cached, what is shared by whom, the cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ablate.catalog import published
from ablate.catalog.adapters import label, labels
from ablate.catalog.axes import AXES
from ablate.catalog.data_sources import missing, rows
from ablate.catalog.step_kinds import ANNOTATE, REFERENCE
from ablate.commands.cost_estimate import CostEstimate
from ablate.commands.output import columns, emit_json, folded, say
from ablate.commands.study_status import StudyStatus, read_status
from ablate.config.published_rows import published_rows
from ablate.config.study import Study
from ablate.cost import published as published_cost
from ablate.cost.checks import check_candidates, fusion_notes, remarks
from ablate.cost.generating import remarks_on_generation
from ablate.design import Candidate
from ablate.files import home
from ablate.humanize import count
from ablate.printable import one_line
from ablate.store.artifacts import Store
from ablate.store.results import told_apart
from ablate.store.steps import Step

STATES = {"done": "cached", "gone": "not needed", "failed": "failed", "running": "at work"}
"""What is said of a step that does not just wait to be done."""


@dataclass(frozen=True)
class StudyPlan:
    """A study as it stands, and what it costs on GPUs of a `kind`, at a `price` for a GPU-hour."""

    status: StudyStatus
    kind: str | None = None
    price: float | None = None

    @cached_property
    def cost(self) -> CostEstimate:
        """What its steps cost."""
        return CostEstimate(self.status, self.kind, self.price)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values (`ablate schema plan`)."""
        return as_data(self.status, self.cost)

    def to_text(self) -> str:
        """In columns; with the cost where a kind or a price was named, or it needs GPUs."""
        asked = self.kind or self.price is not None
        return as_text(self.status, self.cost if asked else None)


def make_plan(
    study: Study, last: int | None, kind: str | None = None, price: float | None = None
) -> StudyPlan:
    """The plan of rounds 1 to `last`; UserError where a candidate is known to fail."""
    status = read_status(study, Store(home()), last)
    check_candidates(status.candidates, study.infra)
    return StudyPlan(status, kind, price)


def show(plan: StudyPlan, as_json: bool) -> None:
    """Print a plan."""
    if as_json:
        emit_json(plan.to_json())
    else:
        say(folded(plan.to_text()))


def as_data(status: StudyStatus, bill: CostEstimate) -> dict[str, Any]:
    """The plan as JSON values."""
    beside = _published(status)
    return {
        "study": status.study.name,
        "title": status.study.title,
        "seeds": list(status.study.seeds),
        "adds_seeds": status.study.adds_seeds,
        "candidates": [
            {
                "name": candidate.name,
                "round": turn.round,
                "provisional": turn.provisional,
                "encoders": list(candidate.encoders),
                "fusion": candidate.fusion.model_dump(mode="json"),
                **{name: getattr(candidate, name) for name in AXES},
                "outputs": list(candidate.outputs),
                "llm": candidate.llm,
                "seed": candidate.seed,
                "fidelity": candidate.fidelity.model_dump(mode="json"),
                "adapters": {
                    name: {part: label(adapter) for part, adapter in stage.adapters.items()}
                    for name, stage in candidate.recipe.stages().items()
                    if stage.adapters
                },
                "notes": fusion_notes(candidate),
                "steps": [step.key for step in status.chains[candidate.name]],
                **bill.candidate(candidate),
                "published": beside.get(candidate.name),
            }
            for turn in status.rounds
            for candidate in turn.candidates
        ],
        "steps": [
            {
                "kind": step.kind,
                "stage": step.name,
                "slug": step.slug,
                "key": step.key,
                "state": status.standings[step.key].state,
                "cached": status.standings[step.key].state == "done",
                "used_by": status.used_by[step.key],
                **bill.step(step),
            }
            for step in status.steps
        ],
        "totals": bill.totals(),
        "references": [
            {"name": reference.name, "what": reference.words}
            for reference in status.study.references
        ],
        "data": {
            name: {"rows": rows(source), "here": not missing(source)}
            for name, source in status.study.learnt_from.items()
        },
    }


def as_text(status: StudyStatus, bill: CostEstimate | None = None) -> str:
    """The plan in columns, with a line that sums it up; of a study on GPUs with its cost."""
    if bill is None and status.study.infra.device == "cuda":
        bill = CostEstimate(status)
    cached = sum(standing.state == "done" for standing in status.standings.values())
    failed, at_work = len(status.failed), len(status.at_work)
    to_do = sum(not standing.over for standing in status.standings.values()) - failed - at_work
    shared = sum(len(names) > 1 for names in status.used_by.values())
    candidates = [
        (
            turn.round,
            candidate.name,
            candidate.fused,
            *(_size(bill, candidate) if bill else ()),
            status.study.explore.assumption * turn.provisional,
        )
        for turn in status.rounds
        for candidate in turn.candidates
    ]
    steps = [
        (
            step.key[:12],
            step.name,
            step.slug,
            STATES.get(status.standings[step.key].state, "to do"),
            len(status.used_by[step.key]),
            *(_price(bill, step) if bill else ()),
        )
        for step in status.steps
    ]
    sizes = ("TOKENS", "FROZEN", "TRAINED", "VISION TFLOPS") if bill else ()
    costs = ("GPU-HOURS", "GIB", "") if bill else ()
    return "\n\n".join(
        (
            one_line(f"{status.study.name}: {status.study.title}") + f"\n{_seeds(status.study)}",
            columns(("ROUND", "CANDIDATE", "FUSION", *sizes, ""), candidates),
            columns(("KEY", "STEP", "WHAT", "STATE", "USED BY", *costs), steps),
            f"{len(candidates)} candidates, {len(steps)} steps: {cached} cached, "
            + f"{failed} failed, " * bool(failed)
            + f"{at_work} at work, " * bool(at_work)
            + f"{to_do} to do; {shared} shared by several candidates.",
            *(f"failed: {status.reason(step)}" for step in status.failed),
            *(bill.words() if bill else ()),
            *_references(status.study),
            *_adapted(status.candidates),
            *_beside_published(status),
            *(f"Note on {remark}" for remark in remarks(status.candidates)),
            *remarks_on_generation(status.candidates, status.study.infra),
            *_absent(status.study),
            *told_apart(status.older),
        )
    )


def _seeds(study: Study) -> str:
    """With which seeds each candidate is trained, and what one alone does not tell."""
    seeds = ", ".join(map(str, study.seeds))
    if study.adds_seeds:
        return f"Seed {seeds} first; where the decision is open then, candidates get more seeds."
    if len(study.seeds) > 1:
        return f"Seeds {seeds}: each candidate is trained {len(study.seeds)} times."
    return f"Seed {seeds}: each candidate is trained once, so training noise is not measured."


def _size(bill: CostEstimate, candidate: Candidate) -> tuple[object, ...]:
    """Visual tokens, parameters that stay and that learn, and an image's TFLOPs."""
    size = bill.candidate(candidate)
    learnt = size["trainable_parameters"]
    return (
        size["visual_tokens"],
        count(size["parameters"] - learnt) if learnt < size["parameters"] else 0,
        count(learnt),
        f"{size['vision_flops'] / 1e12:.2f}",
    )


def _price(bill: CostEstimate, step: Step) -> tuple[object, ...]:
    """GPU-hours, GiB of memory, and what to change if that is too much, or what is recomputed."""
    cost = bill.costs[step.key]
    if cost is None:
        return "?", "?", _unknown(step)
    note = bill.remedy(step) or bill.recomputed(step)
    return f"{bill.hours(step):,.1f}", f"{cost.memory:.0f}", note


def _references(study: Study) -> list[str]:
    """The models that are shown beside candidates and are none, a line each."""
    if not study.references:
        return []
    rows = [(reference.name, one_line(reference.words)) for reference in study.references]
    return [columns(("REFERENCE", "SET APART: NEVER CHOSEN, NOT TRAINED HERE"), rows)]


def _unknown(step: Step) -> str:
    """Why it is not known what a step costs."""
    if step.kind == REFERENCE:
        return "a reference: its size is not known here"
    if step.kind == ANNOTATE:
        return "its annotator is not here, or its data or suite does not declare how long it is"
    return "its data, or suite, does not declare how long it is"


def _adapted(candidates: Sequence[Candidate]) -> list[str]:
    """Which candidates train a part by an adapter, a line for each adapter."""
    trained: dict[str, dict[str, None]] = {}
    for candidate in candidates:
        for kind, stage in candidate.recipe.stages().items():
            if stage.adapters:
                trained.setdefault(f"{kind} trains {labels(stage.adapters)}", {})[
                    candidate.point
                ] = None
    return [f"{', '.join(names)}: {how}" for how, names in trained.items()]


def _published(status: StudyStatus) -> dict[str, dict[str, Any]]:
    """By candidate that repeats a published row: that, its size and GFLOPs, ours counted alike."""
    study = status.study
    if study.published is None:
        return {}
    rows = published_rows(study, status.candidates)
    table = published.table(study.published)
    columns = {published.book().columns[name].cost: name for name in table.columns}
    repeated = {}
    for candidate in status.candidates:
        if row := rows.get(candidate.point):
            ours = {
                "vision_parameters": published_cost.vision_parameters(candidate.encoders),
                "multiply_adds": published_cost.multiply_adds(candidate.encoders),
            }
            printed = {
                f"published_{name}": table.printed(row, columns[name]) if name in columns else None
                for name in ours
            }
            repeated[candidate.name] = {"row": row, **ours, **printed}
    return repeated


def _beside_published(status: StudyStatus) -> list[str]:
    """Parameters and GFLOPs of the vision encoders as published and here, a line each candidate."""
    lines = [
        f"{sizes['row']}: {sizes['published_vision_parameters']:,.1f} M, "
        f"{sizes['published_multiply_adds']:,.1f} GFLOPs; here "
        f"{sizes['vision_parameters'] / 1e6:,.1f} M, "
        f"{sizes['multiply_adds'] / 1e9:,.1f} GFLOPs"
        for sizes in _published(status).values()
        if sizes["multiply_adds"] and sizes["published_multiply_adds"]
    ]
    if not lines:
        return []
    head = f"Vision encoders as published, and here by the same count ({published_cost.RULE}):"
    return ["\n".join([head, *lines])]


def _absent(study: Study) -> list[str]:
    """What there is to say of data that is planned with but not here."""
    absent = [
        f"{name} ({rows(source):,} rows)"
        for name, source in study.learnt_from.items()
        if missing(source)
    ]
    text = "Not on this machine, counted as declared: "
    note = ". The keys above are made of that; with the data there they are others."
    return [text + ", ".join(absent) + note] if absent else []
