"""Round-robin greedy growth of the mixture (Eagle, section 3.5).

Round 1 is the base alone; each further round scores the best mixture so far plus each expert of
the pool that it lacks, and the best of these goes on, also where it is no better than before.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ablate.config.study import Rounds, Study
from ablate.design import Design

if TYPE_CHECKING:
    from ablate.search.strategy import Round


def designs(study: Study, explore: Rounds, before: "Sequence[Round]") -> dict[str, Design]:
    """The next round's designs by name, in the order of the pool."""
    if not before:
        return {name(study.base): study.base}
    best = _best(before[-1])
    grown = [
        study.base.model_copy(update={"encoders": (*best, expert)})
        for expert in explore.pool
        if expert not in best
    ]
    return {name(design): design for design in grown}


def name(design: Design) -> str:
    """The mixture as it is called everywhere: `clip-micro@32+sam-micro@128`."""
    return "+".join(design.encoders)


def _best(before: "Round") -> tuple[str, ...]:
    """The mixture of the round's winner; of its first candidate while there is no winner."""
    winner = before.decision.winner if before.decision else before.candidates[0].point
    return next(one.encoders for one in before.candidates if one.point == winner)
