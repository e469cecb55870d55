"""`ablate noise`: how far training a candidate of a study again would move its scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablate.catalog.noise_floors import COMPOSITE
from ablate.commands.output import columns, emit_json, folded, note, say
from ablate.config.study import Study, load_study
from ablate.errors import UserError
from ablate.files import home, write_json
from ablate.store.artifacts import Store

if TYPE_CHECKING:
    from ablate.stats.noise import Noise

HEAD = "How far another seed moves the score of one run, in points (standard deviation):"
LEGEND = (
    "MOVES: as seen. NOISE: less what the flips of single answers explain, which may be all of it; "
    "what intervals hold beside the choice of questions. DEGREES: of freedom."
)


def show(
    name: str, overrides: Sequence[str], write: Path | None, about: str, as_json: bool
) -> None:
    """Print the noise floor of the study's recipe and suite; `write`: keep the store's part of it
    as a file that can be shipped."""
    from ablate.reports import noise_floor
    from ablate.store.replicates import repetition

    study = load_study(name, overrides)
    store = Store(home())
    subject = noise_floor.subject_of(study, store)
    floor = noise_floor.floor_by_task(repetition(store.home, [subject]))
    if as_json:
        fields = {task: noise.to_json() for task, noise in floor.items()}
        emit_json({"study": study.name, "recipe": subject[0], "suite": subject[1], "noise": fields})
    else:
        say(folded(as_text(study, floor)))
    if write:
        measurement = noise_floor.measurement(store.home, subject, about)
        if not measurement.candidates:
            raise UserError(f"{study.name}: nothing of its recipe was trained twice here")
        write_json(write, measurement.model_dump(mode="json"))
        runs = sum(len(repeated.runs) for repeated in measurement.candidates)
        note(f"{runs} runs of {len(measurement.candidates)} candidates: {write}")


def as_text(study: Study, floor: Mapping[str, "Noise"]) -> str:
    """The floor as a table, or that there is none."""
    if not floor:
        return (
            f"{study.name}: nobody has measured training noise of its recipe on its suite. Train "
            "one candidate again with other seeds: --round 1 --set 'seeds=[0,1,2,3,4]'"
        )
    titles: dict[str, Any] = {task.task: task.title or task.task for task in study.asks.tasks}
    rows = [
        (
            "mean" if task == COMPOSITE else titles.get(task, task),
            f"{noise.crude**0.5:.1f}",
            f"{noise.deviation:.1f}",
            f"{noise.freedom:.0f}",
            noise.candidates,
        )
        for task, noise in floor.items()
    ]
    table = columns(("BENCHMARK", "MOVES", "NOISE", "DEGREES", "CANDIDATES"), rows)
    return f"{HEAD}\n\n{table}\n\n{LEGEND}"
