"""What learns in parts of a model that have an adapter, counted on parts without memory.

They take torch to build, and so the numbers are remembered in `home()`.
"""

from collections.abc import Iterable, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import fusion_zoo
from ablate.catalog import step_kinds
from ablate.catalog.adapters import ADAPTERS
from ablate.catalog.axes import TILING
from ablate.catalog.parts import Part
from ablate.config.infra import Infra
from ablate.cost.visual import injection_of, seen, tiling_for
from ablate.design import Candidate, Design, encoder_spec, llm_spec
from ablate.design.adapters import require_adaptable
from ablate.design.objective import require_objective
from ablate.errors import UserError
from ablate.files import disk_cache, sha256_files
from ablate.store.steps import expert_design
from fusion_zoo.connectors import CONNECTORS
from fusion_zoo.injections import INJECTIONS

if TYPE_CHECKING:
    from torch import nn

    from ablate.adapters import Adapter


class AdapterCost(NamedTuple):
    """Parameters that learn in a part with an adapter, those that the adapter adds to it, and the
    bytes that it holds the part's own in less."""

    trained: int
    added: int
    saved: int


def adapter_cost(design: Design, part: Part, adapter: Mapping[str, Any]) -> AdapterCost:
    """Of an adapter in a part of a design's model; UserError where the part has no place for it."""
    ours = [ADAPTERS.file(name) for name in ADAPTERS.names() if ADAPTERS.plug_in(name) is None]
    source = sha256_files(sorted({ADAPTERS.file(adapter["name"]), *ours}))
    encoders = [encoder_spec(title).to_json() for title in design.encoders]
    connector = design.connector
    fusion: list[Any] = [
        fusion_zoo.fingerprint(design.fusion.name),
        design.fusion.model_dump(mode="json"),
    ]
    fusion += [llm_spec(design.llm).width, llm_spec(design.llm).layers]  # which some ask for
    identity = {  # what is behind a part makes no difference to it
        "encoders": [encoders],
        "fusion": [encoders, fusion],
        "projector": [
            *(encoders, fusion, CONNECTORS.fingerprint(connector["name"]), connector),
            *([design.tiling] if design.tiling != TILING.default else []),
        ],
        "injection": [_injection_of(design), llm_spec(design.llm).to_json()],
        "llm": [llm_spec(design.llm).to_json()],
    }
    asked = [source, dict(adapter), part, identity[part]]
    return AdapterCost(*disk_cache("adapters", asked, lambda: _counted(design, part, adapter)))


def _injection_of(design: Design) -> list[Any]:
    """What decides which modules the design's injection has, but for the language model."""
    return [INJECTIONS.fingerprint(design.injection["name"]), design.injection]


def check_adapters(candidates: Iterable[Candidate], infra: Infra) -> None:
    """UserError names the first stage of a candidate whose adapter finds no place in its part."""
    for candidate in candidates:
        for name, stage in candidate.recipe.stages().items():
            kind = step_kinds.find(candidate.recipe.kind(name))
            infra_of_kind = infra.of(kind.name)
            if infra_of_kind.processes > 1:
                require_adaptable(infra_of_kind.strategy, stage.adapters)
                require_objective(infra_of_kind.strategy, stage.objective)
            if not stage.adapters:
                continue
            alone = [expert_design(candidate, title) for title in candidate.encoders]
            designs = alone if kind.per_expert else [candidate]
            for design, (part, adapter) in product(designs, stage.adapters.items()):
                try:
                    adapter_cost(design, part, adapter)
                except (UserError, ValueError) as error:
                    where = f"recipe.{name}.train.{part}.{adapter['name']}"
                    raise UserError(f"{candidate.name}: {where}: {error}") from None


def _counted(design: Design, part: Part, adapter: Mapping[str, Any]) -> list[int]:
    import torch

    with torch.device("meta"):
        module = _built(design, part)
        before = sum(parameter.numel() for parameter in module.parameters())
        attached: Adapter = ADAPTERS.build(**adapter)
        saved = attached.bytes_saved(module)
        learning = attached.attach(module)
    after = sum(parameter.numel() for parameter in module.parameters())
    return [sum(parameter.numel() for parameter in learning), after - before, saved]


def _built(design: Design, part: Part) -> "nn.Module":
    """A part of a design's model, as `ablate.model` builds it."""
    from torch import nn

    from ablate.decoder import random_language_model
    from ablate.encoders.build import build_encoder
    from fusion_zoo.tilings import hold_marks

    specs, llm = [encoder_spec(title) for title in design.encoders], llm_spec(design.llm)
    if part == "encoders":
        return nn.ModuleList(build_encoder(spec, load_weights=False) for spec in specs)
    if part == "llm":
        language_model: nn.Module = random_language_model(llm)
        return language_model
    if part == "injection":
        injection: nn.Module = injection_of(design, seen(design, None).tokens)
        return injection
    shapes = [fusion_zoo.MapShape(*shape) for spec in specs for shape in spec.maps]
    fused = design.fusion
    reader = fusion_zoo.LanguageShape(llm.width, llm.layers)
    fusion = fusion_zoo.build(fused.name, shapes, fused.grid, reader, **fused.options)
    if part == "fusion":
        return fusion
    options = {**design.connector}
    segments = tiling_for(design).segments(fusion.segments, fusion.grids)
    connector: nn.Module = CONNECTORS.build(
        options.pop("name"), segments, fusion.grids, llm.width, **options
    )
    hold_marks(connector, tiling_for(design), llm.width)
    return connector
