"""Training noise that was measured once and is shipped: a file a measurement, in `noise/`.

So a study of one run each knows from the first how far another seed would move its scores. What is
measured holds for one recipe (stages, data, language model) and one suite, known by their hashes;
for any other nobody has measured it. `ablate noise STUDY --write` makes such a file; one that lies
in the folder `noise` of a home counts there.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from statistics import variance
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict, ValidationError

from ablate.errors import UserError
from ablate.stats.noise import Noise

FOLDER = Path(__file__).with_name("noise")
COMPOSITE = "composite"
Floors = Mapping[str, tuple[Noise, ...]]
"""By task, and `composite`: what was measured."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Run(_Part):
    """One training run: its seed, and its scores in points by task and `composite`."""

    seed: int
    scores: dict[str, float]


class Repeated(_Part):
    """A candidate trained several times, by its design's hash.

    `images`: by task and `composite` how much of the sum of squares between the runs the choice of
    questions makes; 0 where that is not known.
    """

    name: str
    design: str
    runs: tuple[Run, ...]
    images: Mapping[str, float] = MappingProxyType({})

    def noise(self, name: str, but: Collection[tuple[str, int]]) -> Noise | None:
        """Its noise on a task or of the composite, by the runs that are not in `but` (design and
        seed); None of less than two."""
        kept = [run for run in self.runs if (self.design, run.seed) not in but]
        scores = [run.scores[name] for run in kept if name in run.scores]
        freedom = len(scores) - 1
        if freedom < 1:
            return None
        crude = variance(scores)
        images = self.images.get(name, 0.0) / (len(self.runs) - 1)
        return Noise(max(0.0, crude - images), crude, float(freedom), 1)


class Measurement(_Part):
    """What was trained repeatedly, and `about`: where, how, of which version."""

    about: str
    recipe: str
    suite: str
    candidates: tuple[Repeated, ...]


def measurements(folder: Path) -> list[Measurement]:
    """Every measurement in the folder. Raises UserError for a file that is none."""
    measured = []
    for path in sorted(folder.glob("*.json")):
        try:
            measured.append(Measurement.model_validate_json(path.read_bytes()))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"{path}: {where}: {first['msg']}; see `ablate noise`") from error
    return measured


@cache
def shipped() -> tuple[Measurement, ...]:
    """Those that come with ablate."""
    return tuple(measurements(FOLDER))


def floors(
    of: Collection[tuple[str, str]],
    but: Iterable[tuple[str, int]] = (),
    more: Iterable[Measurement] = (),
) -> Floors:
    """What is shipped, and `more`, of these recipes and suites. A run counts once: not those in
    `but`, which are design and seed, nor a seed that a larger measurement has of the same design.
    """
    every = sorted(
        (*shipped(), *more),
        key=lambda measurement: -sum(len(c.runs) for c in measurement.candidates),
    )
    fitting = [
        each
        for measurement in every
        if (measurement.recipe, measurement.suite) in of
        for each in measurement.candidates
    ]
    names = {name for each in fitting for run in each.runs for name in run.scores}
    made: dict[str, tuple[Noise, ...]] = {}
    for name in sorted(names):
        seen, known = set(but), []
        for each in fitting:
            if noise := each.noise(name, seen):
                known.append(noise)
                seen |= {(each.design, run.seed) for run in each.runs if name in run.scores}
        if known:
            made[name] = tuple(known)
    return made
