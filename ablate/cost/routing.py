"""What it takes to answer a question where the language model names the experts that look."""

from typing import TYPE_CHECKING

from ablate.catalog.parts import Part
from ablate.cost.encoders import flops
from ablate.cost.visual import QUESTION, fused, seen
from ablate.design import encoder_spec
from fusion_zoo.tilings import Size

if TYPE_CHECKING:
    from ablate.cost.estimate import ModelCost


def answering_work(model: "ModelCost", size: Size, tokens: int) -> dict[Part, int]:
    """FLOPs of each part in answering a question of so many tokens about an image of this size.

    Where experts are named, only the dearest that can be look, and the language model reads twice:
    before that, the base's tokens, the question, and a token for each encoder.
    """
    work, named = model.work(tokens), fused(model.design).named
    if named is None:
        return work
    most, fusing = named
    views = seen(model.design, size).views
    base, *experts = (flops(encoder_spec(title)) for title in model.design.encoders)
    looking = base + sum(sorted(experts)[len(experts) - most :])
    first = model.work(model.visual_tokens + QUESTION + len(model.design.encoders))
    return {
        **work,
        "encoders": views * looking,
        "fusion": views * fusing,
        "projector": 2 * work["projector"],
        "llm": work["llm"] + first["llm"],
    }
