"""`ablate plan --strategy`: what a search would cost and find, before anything is trained."""

from collections.abc import Sequence
from typing import Any

from ablate.commands.output import columns, emit_json, folded, say
from ablate.commands.replay import explored_by, in_hours
from ablate.commands.simulation import cells, drawn, figures, heads
from ablate.config.study import load_study
from ablate.files import home
from ablate.search.noise_model import NoisyTable, measured_noise, noise_model
from ablate.search.simulate import simulate
from ablate.search.tabulated import GPU, StoreTable, Table, Untried, paper_table
from ablate.store.artifacts import Store

APART = {"all alike": 0.0, "apart like the noise": 1.0, "apart three times the noise": 3.0}
"""How far the effects of encoders may lie apart, in deviations of a run."""
ASSUMED = 1.0
"""Points by which a run spreads, where nobody has measured it."""


def show(
    name: str,
    overrides: Sequence[str],
    strategy: str,
    repeat: int,
    noise: float | None,
    indifference: float,
    gpu: str | None,
    as_json: bool,
) -> None:
    """Print what the strategy costs and finds, for each of several ways the truth may be."""
    study = load_study(name, overrides)
    if strategy != study.explore.kind:
        study = explored_by(strategy, study, name, overrides)
    measured = measured_noise(StoreTable(study, Store(home()))) if noise is None else None
    run = next(spread for spread in (noise, measured, ASSUMED) if spread is not None)
    untried = Untried(study, gpu or GPU)
    worlds: list[tuple[str, Table, float]] = [
        (words, untried, run * share) for words, share in APART.items()
    ]
    if study.published and study.asks.published:
        worlds.insert(0, ("as published", paper_table(study), 0.0))
    everything = NoisyTable(untried, noise_model(study, run, 0.0))
    whole = everything.hours(everything.everything)
    forecasts = []
    for words, table, spread in worlds:
        known = None if words == "as published" else spread
        noisy = NoisyTable(table, noise_model(study, run, known), untried)
        forecast = figures(simulate(noisy, study, repeat, indifference), whole)
        forecasts.append({"if": words, **forecast})
    worst = [forecast["hours_at_worst"] for forecast in forecasts]
    data: dict[str, Any] = {
        "study": study.name,
        "strategy": strategy,
        "noise": run,
        "noise_is": _origin(noise, measured),
        "indifference": indifference,
        "unit": untried.unit,
        "designs": len(everything.everything),
        "hours_of_all": whole,
        "hours_at_worst": None if None in worst else max(worst),
        "forecasts": forecasts,
    }
    if as_json:
        emit_json(data)
    else:
        say(folded(as_text(data, everything, untried)))


def _origin(given: float | None, measured: float | None) -> str:
    if given is not None:
        return "given"
    return "assumed" if measured is None else "measured"


def as_text(data: dict[str, Any], noisy: NoisyTable, untried: Untried) -> str:
    """A row for each way the truth may be."""
    rows = [(forecast["if"], *cells(forecast)) for forecast in data["forecasts"]]
    origin = {
        "given": "as given",
        "measured": "as the store's runs have it",
        "assumed": "assumed, for nothing was trained twice here: say --noise",
    }
    whole = in_hours(data["hours_of_all"])
    return "\n\n".join(
        (
            f"{data['study']} by {data['strategy']}, {data['forecasts'][0]['repetitions']:,} "
            "repetitions each, before anything is trained",
            columns(("IF CANDIDATES ARE", *heads(data["indifference"], data["unit"])), rows),
            f"At worst {in_hours(data['hours_at_worst'])} {data['unit']}; all {data['designs']} "
            f"designs, trained once each, take {whole} ({untried.costed}).",
            f"{drawn(noisy.noise)} The noise is {origin[data['noise_is']]}.",
        )
    )
