"""Whether candidates can learn from conversations that lie end to end. Torch builds shapes for it,
and so the answers are remembered in `home()`."""

from collections.abc import Iterable

import fusion_zoo
from ablate.catalog import step_kinds
from ablate.catalog.axes import INJECTION
from ablate.catalog.llms import LlmSpec
from ablate.config.infra import Infra
from ablate.cost.visual import fused
from ablate.design import Candidate, Design, llm_spec
from ablate.errors import UserError
from ablate.files import disk_cache
from ablate.store.steps import expert_design


def check_packing(candidates: Iterable[Candidate], infra: Infra) -> None:
    """UserError names the first candidate that a stage is to pack, but which cannot be."""
    for candidate in candidates:
        for name in candidate.recipe.stages():
            kind = step_kinds.find(candidate.recipe.kind(name))
            if not infra.of(kind.name).packing:
                continue
            title = candidate.encoders[0]
            design = expert_design(candidate, title) if kind.per_expert else candidate
            if why := _why_not(design):
                raise UserError(f"{candidate.name}: infra.packing: {why}; leave it at false")


def _why_not(design: Design) -> str:
    if design.injection != INJECTION.default:
        return f"injection '{design.injection['name']}' takes conversations row by row"
    if fused(design).injected or fusion_zoo.FUSIONS.says(design.fusion.name, "names_experts"):
        return f"fusion '{design.fusion.name}' takes conversations row by row"
    if not _reads_by_attention(llm_spec(design.llm)):
        return f"{design.llm} learns of tokens before one not by attention alone"
    return ""


def _reads_by_attention(spec: LlmSpec) -> bool:
    def asked() -> bool:
        import torch

        from ablate.decoder import random_language_model, reads_by_attention

        with torch.device("meta"):
            return reads_by_attention(random_language_model(spec))

    return bool(disk_cache("packing", spec.to_json(), asked))
