"""What a study costs before anything of it has run: sizes, operations, memory and GPU-hours.

Sizes and operations follow from the architectures (2 for each multiply-add). Hours need two figures
more, the shares of a GPU's peak that work on frozen and on trained parts reaches: they are fitted
to the one published cost of a whole run, so they hold for a cluster and a code as good as that.
Every sample is counted with one image of a usual size and a usual length of text, memory with one
that becomes the most tokens; all work is on GPUs, none waits for data. For planning, within a
quarter at best; no measurement.

Imports no torch, but to measure a fusion it has not met before.
Shapes: T tokens of a sample, D the language model's width.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from ablate.catalog import annotators, step_kinds
from ablate.catalog import data_sources as data
from ablate.catalog.axes import INJECTION
from ablate.catalog.llms import LlmSpec
from ablate.catalog.objectives import OBJECTIVES
from ablate.catalog.parts import PARTS, Part
from ablate.config.infra import Infra
from ablate.config.study import Study
from ablate.cost import answering
from ablate.cost.adapters import AdapterCost, adapter_cost
from ablate.cost.answering import Blocks
from ablate.cost.encoders import Cost, total
from ablate.cost.encoders import cost as encoder_cost
from ablate.cost.memory import (
    EVERYTHING,
    NOTHING,
    UPDATE,
    WEIGHT,
    Recomputed,
    StepMemory,
    passes,
)
from ablate.cost.routing import answering_work
from ablate.cost.visual import (
    ANSWER,
    QUESTION,
    TYPICAL,
    connected,
    fused,
    injected,
    picture_size,
    seen,
)
from ablate.design import Candidate, Design, encoder_spec, llm_spec
from ablate.design.recipe import StageConfig, partly
from ablate.store.steps import Step, expert_design
from fusion_zoo.tilings import Size

FROZEN, TRAINED = 0.48, 0.27
"""Shares of the peak that work on frozen and on trained parts reaches. Fitted to Eagle-X5 on
Vicuna-7B (the authors in issue 4 of NVlabs/EAGLE), 32 A100: about 2 h for 0.6 M pairs, projector
only, about 24 h for 1.8 M conversations, everything trained; activations recomputed in both."""
ANSWERING = 0.19
"""The same in evaluation: X5's vision side is published at 3.8 images/s (Eagle, v2), 15.6 TFLOPs
each, on a GPU that is not named and taken for an A100."""
CHECKPOINT = 12
"""Bytes of a checkpoint for each parameter that learns: itself and its two moments."""


class Gpu(NamedTuple):
    """A kind of GPU: its peak of dense bfloat16 operations a second, and its memory in GiB."""

    peak: float
    memory: int


GPUS = MappingProxyType(
    {"a100": Gpu(312e12, 79), "h100": Gpu(989e12, 79), "h200": Gpu(989e12, 139)}
)
"""The SXM modules of 80, 80 and 141 GB: peaks by NVIDIA's data sheets, memory as torch finds it."""


@dataclass(frozen=True)
class ModelCost:
    """What each part of a design's model holds and does: `llm` with a token, others with an image.

    `visual_tokens`: what an image becomes.
    """

    visual_tokens: int
    encoders: Cost
    fusion: Cost
    projector: Cost
    injection: Cost
    llm: Cost
    spec: LlmSpec
    design: Design
    injected: tuple[int, int] = (0, 0)
    """FLOPs of what fusion and injection inject, for each token the language model reads."""
    kept_by_injection: tuple[int, int] = (0, 0)
    """Bytes it keeps for the backward pass with an image, and for each of these tokens."""

    @property
    def parts(self) -> dict[Part, Cost]:
        """The parts a recipe may train, in the order in which data passes them."""
        return {part: getattr(self, part) for part in PARTS}

    @property
    def parameters(self) -> int:
        """Of the whole model."""
        return sum(part.parameters for part in self.parts.values())

    def trained(self, *stages: StageConfig) -> int:
        """Parameters that the stages train; of a part the most that one of them does."""
        return sum(
            max((self._learning(part, stage).trained for stage in stages), default=0)
            for part in PARTS
        )

    def added(self, stage: StageConfig) -> int:
        """Parameters that the adapters of a stage hold beside the model's."""
        return sum(self._learning(part, stage).added for part in PARTS)

    def saved(self, stage: StageConfig) -> int:
        """Bytes that the adapters of a stage hold the model's parameters in less."""
        return sum(self._learning(part, stage).saved for part in PARTS)

    def _learning(self, part: Part, stage: StageConfig) -> AdapterCost:
        """Of a part in a stage."""
        if part not in stage.rates:
            return AdapterCost(0, 0, 0)
        if part in stage.adapters:
            return adapter_cost(self.design, part, stage.adapters[part])
        return AdapterCost(self.parts[part].parameters, 0, 0)

    def work(self, tokens: int) -> dict[Part, int]:
        """FLOPs of each part in the forward pass of a sample of so many tokens, one image's too."""
        pairs = 2 * self.spec.layers * self.spec.width * tokens**2  # causal: half of them all
        flops: dict[Part, int] = {name: self.parts[name].flops for name in PARTS}
        fusion, injection = self.injected
        flops["fusion"] += tokens * fusion
        flops["injection"] += tokens * injection
        return {**flops, "llm": tokens * self.llm.flops + pairs}

    def outputs(self, tokens: int) -> dict[Part, int]:
        """Numbers that each part's layers put out in it. Fusion and injection are left out."""
        outputs: dict[Part, int] = {name: self.parts[name].outputs for name in PARTS}
        return {**outputs, "llm": tokens * self.llm.outputs}


@dataclass(frozen=True)
class StepCost:
    """One step: its FLOPs, GPU-hours, and the GiB it takes on one GPU."""

    flops: float
    gpu_hours: float
    memory: float
    held: float
    """GiB of the memory that no smaller micro-batch would save."""
    at_once: int
    """Samples, or questions, on the GPU at once."""
    fitting: int
    """As many of them as there is memory for; 0 where one does not fit."""
    trunk_hours: float = 0.0
    """GPU-hours of the part of it that a larger share of the same step need not do again."""
    trunk: float = 0.0
    """GiB on the disk of what it leaves for a larger share, until all is done."""
    recomputed: Recomputed = field(default_factory=dict)
    """The parts whose blocks compute their activations again."""
    recomputing_hours: float = 0.0
    """GPU-hours of it where all blocks do."""


def model_cost(design: Design, size: Size | None = TYPICAL) -> ModelCost:
    """Sizes and operations of a design's model, of an image of this width and height.

    None: of the image that becomes the most tokens. Sizes make a difference under a tiling alone.
    UserError if its fusion cannot take its maps, its connector what the fusion gives, or its tiling
    what it is told.
    """
    encoders = [encoder_spec(title) for title in design.encoders]
    llm = llm_spec(design.llm)
    made, linked, image = fused(design), connected(design), seen(design, size)
    read = injected(design, size)
    return ModelCost(
        visual_tokens=read.tokens,
        encoders=total(encoder_cost(spec) for spec in encoders).times(image.views),
        fusion=made.cost.times(image.views),
        projector=linked.cost.times(image.units),
        injection=read.cost,
        llm=llm_cost(llm),
        spec=llm,
        design=design,
        injected=(made.injected, read.each),
        kept_by_injection=read.kept,
    )


def usual_size(study: Study, design: Design) -> Size:
    """Width and height of an image of what its last stage learns from, as of its benchmarks."""
    sizes = [picture_size(study.data[stage.data]) for stage in design.recipe.stages().values()]
    return sizes[-1] if sizes else TYPICAL


def step_cost(study: Study, candidate: Candidate, step: Step, gpu: Gpu) -> StepCost | None:
    """What one of the candidate's steps costs; None if the length of its data is not known."""
    kind = step_kinds.find(step.kind)
    if step.kind == step_kinds.ANNOTATE:
        return _annotation(study, step, gpu)
    if not kind.trains:
        return _evaluation(study, candidate, step, gpu)
    design = expert_design(candidate, step.slug) if kind.per_expert else candidate
    return _training(study, design, step, gpu)


def _training(study: Study, design: Design, step: Step, gpu: Gpu) -> StepCost | None:
    stage, text = design.recipe.stages()[step.name], step_kinds.find(step.kind).text
    length = _length(study, stage, step)
    if length is None:
        return None
    steps, samples = length
    model = model_cost(design, picture_size(study.data[stage.data]))
    text += design.output_tokens if "outputs" in step.spec else 0
    work = model.work(min(model.visual_tokens + text, stage.max_length))
    infra = study.infra.of(step.kind)
    share = math.ceil(stage.batch_size / infra.processes)
    at_once = min(infra.micro_batch_size or share, share)
    pairs = OBJECTIVES.says(stage.objective["name"], "of_pairs")  # which the model before sees, too
    # Without any expert and with each alone: what they saw, they have seen once.
    alone = len(design.encoders) * OBJECTIVES.says(stage.objective["name"], "of_experts")
    more = {part: pairs + (alone if part != "encoders" else 0) for part in PARTS}
    memory, rows = _memory(design, model, stage, infra, text), 1 + pairs
    asked = infra.gradient_checkpointing
    again = EVERYTHING if asked else NOTHING
    if asked == "auto" and design.injection == INJECTION.default:
        again = memory.least_recomputed(rows * at_once, gpu.memory, work)

    def hours(flops: Mapping[Part, float]) -> float:
        shares = {part: TRAINED if part in stage.rates else FROZEN for part in flops}
        return sum(flops[part] / (gpu.peak * shares[part]) for part in flops) / 3600

    def flops(again: Recomputed) -> dict[Part, float]:
        times = passes(stage, again).items()
        return {part: samples * rows * (number + more[part]) * work[part] for part, number in times}

    trunk, taken = stage.trunk(steps), hours(flops(again))
    return StepCost(
        sum(flops(again).values()),
        taken,
        memory.needed(rows * at_once, again),
        memory.held,
        at_once,
        memory.fitting(rows * at_once, gpu.memory, again) // rows,
        trunk_hours=taken * trunk / steps,
        trunk=CHECKPOINT * model.trained(stage) / 2**30 if trunk and step.share < 1 else 0.0,
        recomputed=again,
        recomputing_hours=hours(flops(EVERYTHING)),
    )


def _length(study: Study, stage: StageConfig, step: Step) -> tuple[int, int] | None:
    """Its steps of the optimizer and its samples; None if the length of its data is not known."""
    rows, length = data.rows(study.data[stage.data]), step.spec["stage"]  # of a part of it, shorter
    if length["steps"] is not None:
        samples = length["steps"] * stage.batch_size
    elif rows is not None:
        samples = int((length["epochs"] or 1) * rows)
    else:
        return None
    whole = max(1, samples // stage.batch_size)
    steps = partly(whole, step.share)
    return steps, samples - (whole - steps) * stage.batch_size


def _memory(
    design: Design, model: ModelCost, stage: StageConfig, infra: Infra, text: int
) -> StepMemory:
    """What a stage takes of a GPU, where each image becomes the most tokens."""
    pairs = OBJECTIVES.says(stage.objective["name"], "of_pairs")
    numbers = (1 + pairs) * model.parameters + model.added(stage)
    weights = (WEIGHT * numbers - model.saved(stage)) / infra.shares_of_weights
    updates = UPDATE * model.trained(stage) / infra.shares_of_updates
    largest = model_cost(design, None)
    longest = min(largest.visual_tokens + text, stage.max_length)
    with_image, each = largest.kept_by_injection
    return StepMemory(
        stage,
        (weights + updates) / 2**30,
        largest.outputs(longest),
        with_image + longest * each,
        text,
        int(largest.spec.config.get("vocab_size", 0)),
        in_chunks=bool(infra.gradient_checkpointing),
    )


def _evaluation(study: Study, design: Design, step: Step, gpu: Gpu) -> StepCost | None:
    """Scoring on the study's suite: one pass over all tokens of a question and its answer.

    What each of the answer's tokens waits for is within the share; keys and values are kept.
    """
    questions = study.asks.questions
    if questions is None:
        return None
    questions = math.ceil(questions * step.share)
    size = usual_size(study, design)
    model = model_cost(design, size)
    tokens = model.visual_tokens + design.output_tokens + QUESTION + ANSWER
    flops = questions * sum(answering_work(model, size, tokens).values())
    weights = WEIGHT * model.parameters
    blocks, memory = _blocks(model.spec), answering.SHARE * max(0, gpu.memory * 2**30 - weights)
    at_once = study.infra.of(step_kinds.EVALUATE).micro_batch_size or min(
        questions, blocks.questions_at_once(tokens, memory, 2)
    )
    held, cached = weights / 2**30, tokens * blocks.cached(2) / 2**30  # in bfloat16
    fitting = min(at_once, max(0, int((gpu.memory - held) / cached)))
    hours = flops / (gpu.peak * ANSWERING) / 3600
    return StepCost(flops, hours, held + at_once * cached, held, at_once, fitting, hours)


def _annotation(study: Study, step: Step, gpu: Gpu) -> StepCost | None:
    """Looking at every image once, as in evaluation; of a benchmark's questions one each."""
    cost = annotators.build(step.spec["annotator"]).cost()
    images = _images(study, step)
    if cost is None or images is None:
        return None
    held = WEIGHT * cost.parameters / 2**30
    hours = images * cost.flops / (gpu.peak * ANSWERING) / 3600
    return StepCost(images * cost.flops, hours, held, held, 1, int(held <= gpu.memory), hours)


def _images(study: Study, step: Step) -> int | None:
    """How many an annotator looks at, as declared."""
    if "data" in step.spec:
        return data.rows(data.parse(step.spec["data"]))
    suite = study.asks
    counts = [task.questions for task in (*suite.published, *suite.own)]
    if None in counts:
        return None
    return (suite.data.images if suite.data else 0) + sum(filter(None, counts))


def llm_cost(spec: LlmSpec) -> Cost:
    """What a causal language model holds, and what it does with a token but for attention's pairs.

    All its parameters take part, but a table that is only looked up.
    """
    tied = spec.config.get("tie_word_embeddings", False)
    looked_up = 0 if tied else int(spec.config.get("vocab_size", 0)) * spec.width
    blocks = _blocks(spec)
    outputs = spec.layers * (3 * spec.width + 2 * blocks.narrow + 2 * blocks.inner)
    return Cost(spec.parameters, 2 * (spec.parameters - looked_up), outputs)


def _blocks(spec: LlmSpec) -> Blocks:
    return Blocks.of({**spec.config, "num_hidden_layers": spec.layers}, spec.width)
