"""`ablate replay --repeat`: what each strategy finds and costs, over results drawn many times."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ablate import strategies
from ablate.commands.output import columns, emit_json, folded, say
from ablate.commands.replay import explored_by, in_hours, table_of
from ablate.config.study import Study, load_study
from ablate.errors import UserError
from ablate.printable import one_line
from ablate.search.noise_model import NoiseModel, NoisyTable, measured_noise, noise_model
from ablate.search.simulate import Simulation, simulate


def show(
    name: str,
    overrides: Sequence[str],
    strategy: str | None,
    over: str | None,
    repeat: int,
    noise: float | None,
    indifference: float,
    as_json: bool,
) -> None:
    """Print what a strategy, or each that fits the study, comes to in so many repetitions."""
    study = load_study(name, overrides)
    tried = (
        [explored_by(strategy, study, name, overrides)]
        if strategy
        else [*_fitting(study, name, overrides)]
    )
    table = table_of(study, over)
    known = measured_noise(table) if noise is None else noise
    if known is None:
        raise UserError(
            f"{table.source} has no design that was trained twice, so how far runs of one spread "
            "is not known: say it in points, such as --noise 0.5"
        )
    noisy = NoisyTable(table, noise_model(study, known))
    simulations = [simulate(noisy, variant, repeat, indifference) for variant in tried]
    if as_json:
        emit_json(as_data(study, noisy, simulations, indifference))
    else:
        say(folded(as_text(study, noisy, simulations, indifference)))


def _fitting(study: Study, name: str, overrides: Sequence[str]) -> Iterator[Study]:
    """The study by its own strategy, then by each other that its fields fit."""
    yield study
    for kind in strategies.names():
        if kind != study.explore.kind:
            with suppress(UserError):
                yield explored_by(kind, study, name, overrides)


def as_data(
    study: Study, noisy: NoisyTable, simulations: Sequence[Simulation], indifference: float
) -> dict[str, Any]:
    """The figures as JSON values."""
    everything = noisy.hours(noisy.everything)
    return {
        "study": study.name,
        "source": noisy.table.source,
        "noise": noisy.noise.run,
        "crossing": dict(noisy.noise.crossing),
        "indifference": indifference,
        "unit": noisy.table.unit,
        "designs": len(noisy.everything),
        "filled": list(noisy.filled),
        "hours_of_all": everything,
        "strategies": [
            {"strategy": simulation.strategy, **figures(simulation, everything)}
            for simulation in simulations
        ],
    }


def figures(simulation: Simulation, everything: float | None) -> dict[str, Any]:
    """What a strategy came to; `everything`: the hours of all designs."""
    return {
        "repetitions": len(simulation.regret),
        "right": simulation.right,
        "good": simulation.good,
        "best_dropped": simulation.dropped,
        "best_given_up": simulation.given_up,
        "hours": simulation.expected,
        "hours_at_worst": simulation.worst,
        "share_of_all": simulation.expected / everything
        if simulation.expected and everything
        else None,
    }


def heads(indifference: float, unit: str) -> tuple[str, ...]:
    """What stands over `cells`."""
    within = f"WITHIN {indifference:g}"
    risks = ("BEST DROPPED", "GIVEN UP")
    return ("FINDS THE BEST", within, *risks, unit.upper(), "AT WORST", "OF ALL")


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """`figures` in words."""
    return (
        f"{row['right']:.1%}",
        f"{row['good']:.1%}",
        *(
            "" if row[risk] is None else f"{row[risk]:.1%}"
            for risk in ("best_dropped", "best_given_up")
        ),
        in_hours(row["hours"]),
        in_hours(row["hours_at_worst"]),
        "?" if row["share_of_all"] is None else f"{row['share_of_all']:.0%}",
    )


def as_text(
    study: Study, noisy: NoisyTable, simulations: Sequence[Simulation], indifference: float
) -> str:
    """A row a strategy, and what it rests on."""
    data = as_data(study, noisy, simulations, indifference)
    rows = [(row["strategy"], *cells(row)) for row in data["strategies"]]
    everything, filled = in_hours(data["hours_of_all"]), len(data["filled"])
    lacking = f" {filled} are not tabulated, and taken to score what their encoders add elsewhere."
    return "\n\n".join(
        (
            one_line(
                f"{study.name}: {len(simulations[0].regret):,} repetitions each, "
                f"over {data['source']}"
            ),
            columns(("STRATEGY", *heads(indifference, data["unit"])), rows),
            f"All {data['designs']} designs, trained once each, take {everything} {data['unit']} "
            f"({noisy.table.costed})." + lacking * bool(filled),
            drawn(noisy.noise),
        )
    )


def drawn(noise: NoiseModel) -> str:
    """What is drawn, in a sentence."""
    crossing = ", ".join(f"{sd:.2g} of {name}" for name, sd in noise.crossing.items())
    return (
        f"Drawn anew each time: the noise of a run, {noise.run:.2g} points (standard deviation), "
        f"and how far a part of a stage misleads, with each halving: {crossing}."
    )
