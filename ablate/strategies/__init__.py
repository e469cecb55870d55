"""Search strategies: what a study may say under `explore:`, and what it then tries. One file each.

A strategy is one file: its name is the `kind` in the study's YAML, and its class, named the same in
CamelCase, a `Strategy`. Another package adds its own through the entry-point group
`ablate.strategies` (`name = "package.module:Class"`). Nothing else asks which strategy it is. No
module is imported before its strategy is asked for.
"""

from collections.abc import Mapping, Sequence
from inspect import isabstract
from typing import Annotated, Any

from pydantic import PlainValidator
from pydantic_core import PydanticKnownError

import fusion_zoo
from ablate.design import Design
from ablate.errors import UserError
from ablate.parsing.validation import mistake
from ablate.strategies._decision import Choice as Choice
from ablate.strategies._decision import Decision as Decision
from ablate.strategies._decision import Look as Look
from ablate.strategies._decision import Outcome as Outcome
from ablate.strategies._decision import Result as Result
from ablate.strategies._decision import Standing as Standing
from ablate.strategies._decision import alike as alike
from ablate.strategies._decision import by_point as by_point
from ablate.strategies._decision import mean as mean
from ablate.strategies._interface import Context as Context
from ablate.strategies._interface import OptunaView as OptunaView
from ablate.strategies._interface import Round as Round
from ablate.strategies._interface import Strategy as Strategy
from ablate.strategies._interface import Trial as Trial
from ablate.strategies._more_seeds import MoreSeeds as MoreSeeds
from ablate.strategies._sieve import Sieve as Sieve
from ablate.strategies._sieve import Sifted as Sifted
from fusion_zoo import Registry

STRATEGIES = Registry("strategy", __name__, __name__, error=UserError)
names = STRATEGIES.names
plug_in = STRATEGIES.plug_in
blamed = STRATEGIES.blame


def find(kind: str) -> type[Strategy]:
    """The strategy of this name.

    Raises UserError for an unknown one, naming the nearest, and where its package cannot be
    imported or has none.
    """
    strategy = STRATEGIES.load(kind)
    with blamed(kind, "be loaded"):
        if not (isinstance(strategy, type) and issubclass(strategy, Strategy)) or isabstract(
            strategy
        ):
            raise TypeError(f"{strategy!r} is no whole ablate.strategies.Strategy")
    return strategy


def parse(value: Any) -> Strategy:
    """What stands under `explore:` as the strategy that it names."""
    if isinstance(value, Strategy):
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    if "kind" not in value:
        raise mistake(f"kind is missing; choose one of {', '.join(names())}")
    try:
        strategy = find(str(value["kind"]))
    except UserError as error:
        raise mistake(str(error), "kind") from None
    return strategy.model_validate(value)


def shared_fields(strategy: Strategy, kind: str) -> dict[str, Any]:
    """What may stand under `explore:` for a strategy of that kind, as far as this one says it.

    Raises UserError for a kind there is not.
    """
    common = type(strategy).model_fields.keys() & find(kind).model_fields
    return {**strategy.model_dump(mode="json", include=common), "kind": kind}


Explore = Annotated[Strategy, PlainValidator(parse)]
"""The field of a study's model."""


def propose(strategy: Strategy, base: Design, before: Sequence[Round]) -> dict[str, Trial]:
    """What the turn after these tries, by point; nothing where there is no more to try.

    Raises UserError where a strategy of another package fails, or proposes what it may not.
    """
    with blamed(strategy.kind, f"propose round {before[-1].round + 1 if before else 1}"):
        trials = dict(strategy.trials(base, before))
        if plug_in(strategy.kind) is not None:  # a thousand of ours, asked often, take their time
            check(strategy, base, before, trials)
            check_display(strategy, before, trials)
    return trials


def check(
    strategy: Strategy, base: Design, before: Sequence[Round], trials: Mapping[str, Trial]
) -> None:
    """Raise ValueError for what a strategy may not propose.

    An encoder that is not on its shelf, a language model or data that its first round lacks (what
    is nowhere named before is not here); a name that is taken, unless by the same design in the
    turn before, tried otherwise; a stage that its recipe lacks; a fusion that there is not; nothing
    in the first turn.
    """
    if not (trials or before):
        raise ValueError("no design")
    first = [trial.design for trial in strategy.trials(base, ()).values()]
    encoders, llms = set(strategy.shelf(base)), {design.llm for design in first}
    data = {stage.data for design in first for stage in design.recipe.stages().values()}
    for name, trial in trials.items():
        _check_name(name, trial, before)
        design = trial.design
        if left := set(design.encoders) - encoders:
            raise ValueError(f"'{name}' has {', '.join(sorted(left))}, which its shelf lacks")
        if len(set(design.encoders)) < len(design.encoders):
            raise ValueError(f"'{name}' has an encoder twice")
        if design.llm not in llms:
            raise ValueError(f"'{name}' has {design.llm}, which the first round lacks")
        if left := {stage.data for stage in design.recipe.stages().values()} - data:
            raise ValueError(f"'{name}' has data {', '.join(left)}, which the first round lacks")
        if left := trial.fidelity.stages.keys() - design.recipe.stages():
            raise ValueError(f"'{name}' has no stage {', '.join(sorted(left))} to train a part of")
        fusion_zoo.check(design.fusion.name, design.fusion.options)


def check_display(strategy: Strategy, before: Sequence[Round], trials: Mapping[str, Trial]) -> None:
    """Ask for all that tables and pages show of a strategy and its candidates.

    So a mistake there ends a plan, and not a report. Raises UserError for it.
    """
    with blamed(strategy.kind, "say how it is shown"):
        words = [strategy.noun, strategy.assumption, strategy.differs_in, strategy.heading]
        words += [strategy.rule, *strategy.varies, *strategy.published_rows.values()]
        last = before[-1].survivors if before else ()
        for name, trial in trials.items():
            for mixture in (None, *(design.encoders for design in last)):
                words.append(strategy.label(name, trial.design.encoders, mixture))
        if wrong := [word for word in words if not isinstance(word, str)]:
            raise TypeError(f"{wrong[0]!r} is no text")


def _check_name(name: str, trial: Trial, before: Sequence[Round]) -> None:
    """Raise ValueError for a name that is taken, unless by the same design in the turn before."""
    for turn in before:
        for candidate in turn.candidates:
            if candidate.point == name:
                same = all(getattr(candidate, part) == value for part, value in trial.design)
                near = turn is before[-1] or name in before[-1].points
                if not (near and same):
                    raise ValueError(f"the name '{name}' is taken by an earlier round")
                if candidate.fidelity == trial.fidelity and (
                    trial.seeds is None or candidate.seed in trial.seeds
                ):
                    raise ValueError(f"'{name}' is tried again with seed {candidate.seed}")
