"""What a study as it stands costs: its candidates, its steps, and all of it. Imports no torch."""

import math
from typing import Any

from ablate.catalog import step_kinds
from ablate.commands.output import columns
from ablate.commands.strategy_costs import StrategyCost, other_strategies
from ablate.commands.study_status import StudyStatus
from ablate.cost import estimate as cost
from ablate.cost.checks import check_built
from ablate.cost.memory import recomputed_words
from ablate.design import Candidate
from ablate.humanize import percent
from ablate.store.steps import Step

_HOURS = ("gpu_hours", "gpu_hours_from_scratch")


class CostEstimate:
    """The cost of a survey on GPUs of a kind (of `cost.GPUS`), at a price for a GPU-hour.

    UserError if a candidate cannot be built, or leaves no room for text.
    """

    def __init__(
        self, status: StudyStatus, kind: str | None = None, price: float | None = None
    ) -> None:
        self.kind, self.price = kind or "a100", price
        self.gpu = cost.GPUS[self.kind]
        self._status = status
        check_built(status.candidates)
        self.models = {
            candidate.name: cost.model_cost(candidate, cost.usual_size(status.study, candidate))
            for candidate in status.candidates
        }
        users = {candidate.name: candidate for candidate in status.candidates}
        self.costs = {
            step.key: None
            if step.kind == step_kinds.REFERENCE
            else cost.step_cost(status.study, users[status.used_by[step.key][0]], step, self.gpu)
            for step in status.steps
        }
        self._smaller: dict[str, Step] = {}  # the share of a step before each, by its key
        last: dict[str, Step] = {}
        for step in sorted(status.steps, key=lambda step: step.share):
            if step.whole.key in last:
                self._smaller[step.key] = last[step.whole.key]
            last[step.whole.key] = step

    def candidate(self, candidate: Candidate) -> dict[str, Any]:
        """The size of a candidate, and the GPU-hours of all its steps, whoever shares them."""
        model = self.models[candidate.name]
        hours = [self.hours(step, alone=True) for step in self._status.chains[candidate.name]]
        return {
            "visual_tokens": model.visual_tokens,
            "vision_parameters": model.encoders.parameters + model.fusion.parameters,
            "vision_flops": model.encoders.flops + model.fusion.flops,
            "parameters": model.parameters,
            "trainable_parameters": model.trained(*candidate.recipe.stages().values()),
            "gpu_hours": sum(hours),
        }

    def step(self, step: Step) -> dict[str, Any]:
        """What a step costs; None where that is not known."""
        cost_of_step = self.costs[step.key]
        return {
            "flops": cost_of_step and cost_of_step.flops,
            "gpu_hours": cost_of_step and self.hours(step),
            "gpu_memory_gib": cost_of_step and cost_of_step.memory,
            "trunk_gib": cost_of_step and cost_of_step.trunk,
            "recomputed": cost_of_step and dict(cost_of_step.recomputed),
        }

    def totals(self) -> dict[str, Any]:
        """The whole study's GPU-hours and money; `from_scratch`: if nothing were shared."""
        steps, standings = self._status.steps, self._status.standings
        hours = sum(map(self.hours, steps))
        to_do = sum(self.hours(step) for step in steps if not standings[step.key].over)
        chains = self._status.chains.values()
        price = self.price
        return {
            "gpu": self.kind,
            "gpu_hours": hours,
            "gpu_hours_to_do": to_do,
            "gpu_hours_from_scratch": sum(
                self.hours(step, True) for each in chains for step in each
            ),
            "gpu_hours_by_kind": self._by_kind(),
            "strategies": [strategy._asdict() for strategy in self._strategies()],
            "trunks_gib": self._trunks(),
            "steps_of_unknown_cost": sum(
                cost_of_step is None for cost_of_step in self.costs.values()
            ),
            "price": price,
            "money": None if price is None else price * hours,
            "money_to_do": None if price is None else price * to_do,
        }

    def remedy(self, step: Step) -> str:
        """What to change if the step takes more memory than the GPU has; nothing if it fits."""
        cost_of_step, room = self.costs[step.key], self.gpu.memory
        if cost_of_step is None or cost_of_step.memory <= room:
            return ""
        infra = self._status.study.infra.of(step.kind)
        if cost_of_step.held >= room:
            change = "take a smaller base.llm"
            if step_kinds.find(step.kind).trains:
                fewest = cost_of_step.held * infra.shares_of_weights / room
                devices = max(2 * infra.processes, 2 ** math.ceil(math.log2(fewest)))
                change = f"set infra.strategy to fsdp and infra.devices to {devices}"
        elif cost_of_step.fitting:
            change = f"set infra.micro_batch_size to {cost_of_step.fitting}"
        elif not infra.gradient_checkpointing and step_kinds.find(step.kind).trains:
            change = "set infra.gradient_checkpointing to auto"
        else:
            change = "take a smaller base.llm"
        return f"more than the {room} GiB of one {self.kind}: {change}"

    def recomputed(self, step: Step) -> str:
        """What `gradient_checkpointing: auto` has it compute again; nothing where it is not so."""
        cost_of_step, infra = self.costs[step.key], self._status.study.infra.of(step.kind)
        trains = step_kinds.find(step.kind).trains
        if cost_of_step is None or not trains or infra.gradient_checkpointing != "auto":
            return ""
        return recomputed_words(cost_of_step.recomputed)

    def _saved_by_auto(self) -> str:
        """What it saves that not all blocks compute again, where that was for the plan to say."""
        chosen = [step for step in self._status.steps if self.recomputed(step)]
        if not chosen:
            return ""
        costs = [cost for step in chosen if (cost := self.costs[step.key])]
        here = sum(cost.gpu_hours for cost in costs)
        always = sum(cost.recomputing_hours for cost in costs)
        return (
            f" infra.gradient_checkpointing: auto takes {here:,.0f} GPU-hours for these stages, "
            f"{always:,.0f} if all blocks computed again."
        )

    def words(self) -> list[str]:
        """The totals as a paragraph, and another on what is assumed."""
        total = self.totals()
        hours, scratch = total["gpu_hours"], total["gpu_hours_from_scratch"]
        sentence = (
            f"On {self.kind} GPUs: {hours:,.0f} GPU-hours in all, "
            f"{total['gpu_hours_to_do']:,.0f} still to do. Each candidate trained from scratch "
            f"would take {scratch:,.0f}: sharing steps saves {scratch - hours:,.0f}.{self._why()}"
        )
        if self.price is not None:
            sentence += (
                f" At {self.price:,.2f} a GPU-hour: {total['money']:,.0f} in all, "
                f"{total['money_to_do']:,.0f} still to do."
            )
        if total["steps_of_unknown_cost"]:
            sentence += (
                f" {total['steps_of_unknown_cost']} steps of unknown length are not counted."
            )
        if total["trunks_gib"]:
            sentence += (
                f" Stages in part leave at most {total['trunks_gib']:,.1f} GiB in "
                "$ABLATE_HOME/prefixes for larger shares of them."
            )
        sentence += self._saved_by_auto()
        kinds = [f"{kind} {hours:,.0f}" for kind, hours in total["gpu_hours_by_kind"].items()]
        others = [
            (
                strategy["strategy"],
                strategy["candidates"],
                *(f"{strategy[name]:,.0f}" for name in _HOURS),
            )
            for strategy in total["strategies"]
        ]
        heads = ("STRATEGY", "CANDIDATES", "GPU-HOURS", "NOTHING SHARED")
        return [
            f"{sentence} By kind of step: {', '.join(kinds)}.",
            *([columns(heads, others)] if len(others) > 1 else []),
            f"An estimate: work on frozen parts at {percent(cost.FROZEN)} of the GPU's peak and on "
            f"trained parts at {percent(cost.TRAINED)}, as fitted to the published cost of "
            f"Eagle-X5 on Vicuna-7B, answers at {percent(cost.ANSWERING)}; a usual length of text; "
            "the model in shares over infra.devices where infra.strategy has it so, with "
            "infra.micro_batch_size samples on a GPU at a time.",
        ]

    def _trunks(self) -> float:
        """GiB of what steps in part leave: of the same step the last alone is kept."""
        largest: dict[str, float] = {}
        for step in self._status.steps:
            if cost_of_step := self.costs[step.key]:
                key = step.whole.key
                largest[key] = max(largest.get(key, 0.0), cost_of_step.trunk)
        return sum(largest.values())

    def _by_kind(self) -> dict[str, float]:
        """The GPU-hours of each kind of step."""
        hours: dict[str, float] = {}
        for step in self._status.steps:
            hours[step.kind] = hours.get(step.kind, 0.0) + self.hours(step)
        return hours

    def _strategies(self) -> list[StrategyCost]:
        """The study's own strategy as it stands, then others."""
        status = self._status
        scratch = sum(self.hours(step, True) for chain in status.chains.values() for step in chain)
        hours, kind = sum(map(self.hours, status.steps)), status.study.explore.kind
        this = StrategyCost(kind, len(status.candidates), hours, scratch)
        return [this, *other_strategies(status.study, self.gpu)]

    def _why(self) -> str:
        """Why sharing saves nothing, where it does not, and what does."""
        status = self._status
        several = len({candidate.point for candidate in status.candidates}) > 1
        if not several or any(len(names) > 1 for names in status.used_by.values()):
            return ""
        return (
            " No two candidates have a step in common: without pre-alignment, whose steps are one "
            "an expert, each begins with a projector for all of its encoders together. What saves "
            "is to train fewer of them."
        )

    def hours(self, step: Step, alone: bool = False) -> float:
        """GPU-hours of a step that goes on where the study's smaller share of it ends, or `alone`;
        0 where they are not known."""
        cost_of_step = self.costs[step.key]
        if cost_of_step is None:
            return 0.0
        smaller = None if alone else self._smaller.get(step.key)
        before = smaller and self.costs[smaller.key]
        return cost_of_step.gpu_hours - (before.trunk_hours if before else 0.0)
