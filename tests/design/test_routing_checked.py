"""Experts that are named, and the stage that teaches it: what fits, what costs less, what errs."""

import pytest

from ablate.config.study import load_study
from ablate.cost.estimate import model_cost
from ablate.cost.routing import answering_work
from ablate.errors import UserError

NAMED = "base.fusion.name=coarse_to_fine"
ROUTE = "base.recipe.route={data: pairs, steps: 9, batch_size: 4, objective: routing, train: {%s}}"
TAUGHT = (NAMED, ROUTE % "fusion: 1.0e-3")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ((NAMED,), "base.fusion.name: 'coarse_to_fine' has experts named, which no stage teaches;"),
        (TAUGHT[1:], "base.recipe.route.objective: 'routing' teaches to name experts, which is "),
        ((*TAUGHT, "base.injection=adapters"), "base.injection: 'adapters' cannot be: experts are"),
        ((NAMED, ROUTE % "encoders: 1.0e-3"), "base.recipe.route.train: 'routing' trains fusion "),
    ],
)
def test_what_does_not_fit_is_one_line_at_its_place(changes: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError) as error:
        load_study("micro/smoke", changes)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_answering_costs_the_dearest_experts_that_can_be_named_and_a_second_reading() -> None:
    every, one, two = (
        answering_work(model_cost(design), (128, 128), 80)
        for design in load_study("micro/routing").designs[-3:]
    )
    assert one["encoders"] < two["encoders"] < every["encoders"]
    assert one["fusion"] < two["fusion"]
    assert every["llm"] < one["llm"] == two["llm"]
    assert one["projector"] == 2 * every["projector"]
