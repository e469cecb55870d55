"""What a stage may say of its objective: `sft`, or `{name: length_weighted, power: 0.5}`."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from ablate.catalog import step_kinds
from ablate.catalog.axes import INJECTION
from ablate.catalog.data_sources import DataSource, WorldData
from ablate.catalog.objectives import OBJECTIVES
from ablate.catalog.sharing import SHARE_WEIGHTS
from ablate.errors import UserError
from ablate.parsing.choice import WORD, one_of
from fusion_zoo import FUSIONS

if TYPE_CHECKING:
    from ablate.design.recipe import Recipe

DEFAULT: Mapping[str, Any] = MappingProxyType({"name": "sft"})


def require_objective(strategy: str, objective: Mapping[str, Any]) -> None:
    """UserError where processes that share a step in this way cannot train by the objective."""
    name = objective["name"]
    if strategy not in (*SHARE_WEIGHTS, "deepspeed"):
        return
    shared = f"strategy '{strategy}' shares out weights, but objective '{name}'"
    if OBJECTIVES.says(name, "of_pairs"):
        raise UserError(f"{shared} holds those of before the stage whole; choose ddp")
    if OBJECTIVES.says(name, "of_experts"):
        raise UserError(f"{shared} asks a model several times a step; choose ddp")


def require_pairs(objective: str, name: str, data: DataSource) -> None:
    """UserError where an objective learns from pairs of answers and drawn data has none; that of
    files is known once they are read."""
    if OBJECTIVES.says(objective, "of_pairs") and isinstance(data, WorldData) and not data.paired:
        raise UserError(
            f"'{objective}' learns from a right and a wrong answer to each question, and data "
            f"'{name}' (world: {data.world}) has right ones alone; take world: preferences"
        )


def misfits(fusion: str, injection: str, recipe: "Recipe") -> Iterator[tuple[list[str], str]]:
    """Why experts cannot be named, or learn to be, in such a design: where it is written, and what
    is wrong."""
    names = FUSIONS.says(fusion, "names_experts")
    teaching = {
        name: stage
        for name, stage in recipe.stages().items()
        if OBJECTIVES.says(stage.objective["name"], "of_experts")
    }
    for name, stage in teaching.items():
        objective, others = stage.objective["name"], stage.train.keys() - {"fusion", "llm"}
        at = ["recipe", name]
        if not names or step_kinds.find(recipe.kind(name)).per_expert:
            kinds = [each for each in FUSIONS.names() if FUSIONS.says(each, "names_experts")]
            what = f"'{objective}' teaches to name experts"
            yield [*at, "objective"], f"{what}, which is done by fusion {', '.join(kinds)} alone"
        if others:
            what = f"'{objective}' trains fusion and llm alone, not {', '.join(sorted(others))}"
            yield [*at, "train"], f"{what} (null takes a part away)"
    if names and not teaching:
        kinds = [each for each in OBJECTIVES.names() if OBJECTIVES.says(each, "of_experts")]
        what = f"'{fusion}' has experts named, which no stage teaches"
        hint = f"{{objective: {kinds[0]}, train: {{fusion: 1.0e-3}}, ...}}"
        yield ["fusion", "name"], f"{what}; add one, such as recipe.route: {hint}"
    if names and injection != INJECTION.default["name"]:
        what = "experts are named by what the context holds"
        yield ["injection"], f"'{injection}' cannot be: {what}; take prefix"


ObjectiveConfig = Annotated[dict[str, Any], WORD, one_of(OBJECTIVES, "sft")]
"""An objective's name with its options, as they are in a step's spec."""
