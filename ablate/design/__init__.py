"""One point of the design space: a mixture of encoders, its fusion, a language model, a recipe.

Here is what a study may say of it, and its check against what there is. Nothing here imports torch.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import Field, PositiveInt, Strict, model_validator

import fusion_zoo
from ablate.catalog import annotators, llms
from ablate.catalog import encoders as registry
from ablate.catalog.axes import AXES, CONNECTOR, INJECTION, TILING
from ablate.catalog.data_sources import DataSource, WorldData
from ablate.catalog.map_encoders import drawn_by
from ablate.design.axes import ConnectorConfig, InjectionConfig, OutputConfig, TilingConfig
from ablate.design.fidelity import WHOLE, Fidelity
from ablate.design.objective import misfits, require_pairs
from ablate.design.recipe import Recipe, TrainingConfig
from ablate.errors import UserError, nearest
from ablate.parsing.tree import Located
from ablate.parsing.validation import Fields, Option, Seed, error_location, mistake

encoder_spec = cache(registry.resolve)
llm_spec = cache(llms.resolve)
"""As the registries have them, but read from the disk once: specs carry checksums of weights."""


Names = Annotated[tuple[str, ...], Strict(False), Field(min_length=1)]


class FusionConfig(Fields):
    """A fusion of `fusion_zoo`, the (H, W) grid of visual tokens it makes, and its options."""

    name: str
    grid: Annotated[tuple[PositiveInt, PositiveInt], Strict(False)]
    options: dict[str, Option] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _options_are_by_themselves(cls, value: Any) -> Any:
        others = value.keys() - cls.model_fields.keys() if isinstance(value, dict) else ()
        if others and (name := value.get("name")) in fusion_zoo.names():
            for key in others & fusion_zoo.options(name).keys():
                raise mistake(f"an option of {name}: write it as options: {{{key}: ...}}", key)
        return value


class Design(Fields):
    """One point of the design space, without a seed. The first encoder is the base.

    `connector`, `tiling`, `injection`: the choice on an axis, see `ablate.catalog.axes`.
    `outputs`: what annotators say of an image, which stands behind it in every prompt, in training
    and evaluation alike; see `ablate.catalog.annotators`.
    `grown_from`: the design whose trained weights it begins with, its encoders the first of these;
    default: none, and it begins with weights as shipped.
    """

    encoders: Names
    fusion: FusionConfig
    llm: str
    recipe: Recipe
    connector: ConnectorConfig = Field(
        default=dict(CONNECTOR.default), exclude_if=lambda choice: choice == CONNECTOR.default
    )
    tiling: TilingConfig = Field(
        default=dict(TILING.default), exclude_if=lambda choice: choice == TILING.default
    )
    injection: InjectionConfig = Field(
        default=dict(INJECTION.default), exclude_if=lambda choice: choice == INJECTION.default
    )
    outputs: Annotated[tuple[OutputConfig, ...], Strict(False)] = Field(
        default=(), exclude_if=lambda outputs: not outputs
    )
    grown_from: "Design | None" = Field(default=None, exclude_if=lambda before: before is None)

    @property
    def mixture(self) -> str:
        """The mixture as it is called everywhere: `clip-micro@32+sam-micro@128`."""
        return "+".join(self.encoders)

    @property
    def chosen(self) -> dict[str, dict[str, Any]]:
        """The choices on axes that are not the default ones, by axis."""
        choices = {name: getattr(self, name) for name in AXES}
        return {name: choice for name, choice in choices.items() if choice != AXES[name].default}

    @property
    def fused(self) -> str:
        """The fusion as tables call it, and what is chosen beside it: `channel_concat, qformer`."""
        labels = [AXES[name].label(choice) for name, choice in self.chosen.items()]
        return ", ".join([self.fusion.name, *labels, *map(annotators.label, self.outputs)])

    @property
    def speakers(self) -> list[dict[str, Any]]:
        """The annotators of its outputs."""
        return [annotators.annotator_of(output) for output in self.outputs]

    @property
    def drawers(self) -> list[dict[str, Any]]:
        """The annotators whose maps its encoders look at."""
        return [*filter(None, (drawn_by(encoder_spec(title)) for title in self.encoders))]

    @property
    def output_tokens(self) -> int:
        """The most tokens of a prompt that its annotators take, for each image."""
        return sum(output["tokens"] for output in self.outputs)


class Candidate(Design):
    """A design with its seed, as the search proposes it, and how much of it is trained and asked.

    `point` names the design; the candidates of one point differ in seed and fidelity only.
    """

    name: str
    point: str
    round: PositiveInt
    seed: Seed
    fidelity: Fidelity = Field(default=WHOLE, exclude_if=lambda given: given.is_whole)


def checked(written: Design, tree: Located, data: Mapping[str, DataSource]) -> Design:
    """The design with its encoders' full titles and every option of its fusion."""
    if written.grown_from:
        with error_location(tree, ["grown_from"], ["base"]):
            raise UserError("what a candidate grows from the search says: explore.start: grown")
    titles = []
    for n, encoder in enumerate(written.encoders):
        with error_location(tree, ["encoders", n], ["base"]):
            titles.append(encoder_spec(encoder).title)
    with error_location(tree, ["encoders"], ["base"]):
        require_distinct(titles)
        check_maps(written)
    fusion = written.fusion
    with error_location(tree, ["fusion", "name"], ["base"]):
        options = fusion_zoo.options(fusion.name)
    with error_location(tree, ["fusion", "options"], ["base"]):
        fusion_zoo.check(fusion.name, fusion.options)
    for option, default in options.items():
        options[option] = type(default)(fusion.options.get(option, default))
    with error_location(tree, ["llm"], ["base"]):
        llm = llms.absolute(written.llm, tree.at(["llm"]).folder)
        context = llm_spec(llm).context
    for path, problem in misfits(fusion.name, written.injection["name"], written.recipe):
        with error_location(tree, path, ["base"]):
            raise UserError(problem)
    _check_outputs(written, tree, data)
    tokens = fusion.grid[0] * fusion.grid[1] + written.output_tokens
    for kind, stage in written.recipe.stages().items():
        with error_location(tree, ["recipe", kind, "data"], ["base"]):
            if stage.data not in data:
                raise UserError(f"no data '{stage.data}'{nearest(stage.data, data)}")
        with error_location(tree, ["recipe", kind, "objective"], ["base"]):
            require_pairs(stage.objective["name"], stage.data, data[stage.data])
        with error_location(tree, ["fusion", "grid"], ["base"]):
            room = min(context, stage.max_length)
            if tokens >= room and not written.chosen:  # else its cost tells how many there are
                of = f", {written.output_tokens} of them its outputs'," * bool(written.outputs)
                raise UserError(
                    f"{tokens} visual tokens{of} leave no room for text in {room} tokens"
                )
    filled = fusion.model_copy(update={"options": options})
    return written.model_copy(update={"encoders": tuple(titles), "fusion": filled, "llm": llm})


def _check_outputs(written: Design, tree: Located, data: Mapping[str, DataSource]) -> None:
    """UserError unless every stage with prompts has data that the design's annotators understand,
    and the last stage has prompts."""
    with error_location(tree, ["outputs"], ["base"]):
        require_distinct(map(annotators.label, written.outputs))
        stages = [*written.recipe.stages().values()]
        if written.outputs and stages[-1].prompt == "plain":
            raise UserError("the last stage has no prompts for them (prompt: plain)")
    asked: list[tuple[list[str | int], dict[str, Any]]] = []
    asked += [(["outputs", n], choice) for n, choice in enumerate(written.speakers)]
    asked += [(["encoders"], choice) for choice in written.drawers]
    for path, choice in asked:
        for stage in stages:
            source = data.get(stage.data)
            drawn = source is None or isinstance(source, WorldData)
            if annotators.build(choice).drawn and not drawn:
                with error_location(tree, path, ["base"]):
                    raise UserError(
                        f"{annotators.label(choice)} understands pages of the drawn world alone, "
                        f"and data '{stage.data}' is none; take another annotator, such as hf:MODEL"
                    )


def check_maps(design: Design) -> None:
    """UserError unless the maps that encoders look at can be learnt, and images are seen whole."""
    for title in (title for title in design.encoders if drawn_by(encoder_spec(title))):
        if design.tiling != TILING.default:
            raise UserError(
                f"'{title}' looks at a map of the whole image: it takes no tiling, and this is "
                f"{design.tiling['name']}"
            )
        if not any(map(_trains_stems, design.recipe.stages().values())):
            raise UserError(
                f"'{title}' begins at random, and no stage of the recipe trains encoders, whole or "
                "by the names of layers"
            )


def _trains_stems(stage: TrainingConfig) -> bool:
    by = stage.adapters.get("encoders")
    return "encoders" in stage.train and (by is None or by["name"] == "layers")


def require_distinct(words: Iterable[str]) -> None:
    """UserError if a word comes twice."""
    for word, times in Counter(words).items():
        if times > 1:
            raise UserError(f"'{word}' is there {times} times")
