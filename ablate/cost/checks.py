"""Whether a design can be what it says, and what is to be said of it, before anything has run."""

from collections.abc import Iterable, Sequence

import fusion_zoo
from ablate.catalog import step_kinds
from ablate.catalog.axes import TILING
from ablate.config.infra import Infra
from ablate.cost.adapters import check_adapters
from ablate.cost.estimate import model_cost
from ablate.cost.packing import check_packing
from ablate.cost.visual import fused
from ablate.design import Candidate, Design, llm_spec
from ablate.errors import UserError


def fusion_notes(design: Design) -> list[str]:
    """What the fusion says of this set-up, as that a part of it has nothing to do; see `Fusion`.

    UserError if it cannot take the design's maps.
    """
    return fused(design).notes if fusion_zoo.has_notes(design.fusion.name) else []


def remarks(candidates: Iterable[Candidate]) -> list[str]:
    """The `fusion_notes` of candidates, each once, after the names of the designs it is about."""
    by_note: dict[str, dict[str, None]] = {}
    for candidate in candidates:
        for remark in fusion_notes(candidate):
            by_note.setdefault(remark, {})[candidate.point] = None
    return [f"{', '.join(names)}: {remark}" for remark, names in by_note.items()]


def check_candidates(candidates: Sequence[Candidate], infra: Infra) -> None:
    """UserError names the first candidate that can be known to fail, and why.

    To build one takes torch, and seconds: what is all as shipped is left to the preflight on a CPU.
    """
    on_gpu = infra.device == "cuda"
    check_built(candidate for candidate in candidates if on_gpu or not _is_plain(candidate))
    check_adapters(candidates, infra)
    check_packing(candidates, infra)


def _is_plain(design: Design) -> bool:
    usual = fusion_zoo.FUSIONS.filled(design.fusion.name, {})
    return not design.chosen and not design.outputs and design.fusion.options == usual


def check_built(candidates: Iterable[Candidate]) -> None:
    """UserError names the first candidate that `require_built` refuses, and why."""
    for candidate in candidates:
        try:
            require_built(candidate)
        except UserError as problem:
            raise UserError(f"{candidate.name}: {problem}") from None


def _no_room(design: Design) -> str:
    """Why its images leave no room for text in a stage; empty where they do."""
    tokens, context = model_cost(design, None).visual_tokens, llm_spec(design.llm).context
    cuts = design.tiling != TILING.default
    for name, stage in design.recipe.stages().items():
        if step_kinds.find(design.recipe.kind(name)).per_expert:
            continue  # sees each expert on the grid, whose room is checked on loading
        room, limit = min(
            (context, f"the context of {design.llm}"),
            (stage.max_length, f"recipe.{name}.max_length"),
        )
        more = design.output_tokens if stage.prompt != "plain" else 0
        if tokens + more >= room:
            notes = f" with up to {more} of its outputs" * bool(more)
            fewer = "fewer or shorter outputs, " * bool(more) + "fewer tiles, " * cuts
            return (
                f"{design.fused} of {len(design.encoders)} encoders makes "
                f"{'up to ' * cuts}{tokens} tokens of an image{notes}, which leave no room for "
                f"text in {room} ({limit}); take {fewer}a smaller grid or fewer encoders, or raise "
                "that limit"
            )
    return ""


def require_built(design: Design) -> None:
    """UserError where a design's parts do not fit together, leave no room for text, or have a stage
    nothing to learn."""
    if problem := _no_room(design) or _nothing_learns(design):
        raise UserError(problem)


def _nothing_learns(design: Design) -> str:
    """Which stage trains only what has no parameters; empty where none does."""
    parts = model_cost(design, None).parts
    for name, stage in design.recipe.stages().items():
        if step_kinds.find(design.recipe.kind(name)).per_expert:
            continue  # has the plain connector
        if not any(parts[part].parameters for part in stage.train):
            return (
                f"recipe.{name}.train: nothing learns, for {design.fused} has no parameters in "
                f"{', '.join(stage.train)}; add a rate for another part"
            )
    return ""
