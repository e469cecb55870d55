"""The noise floor of a study's recipe and suite: how far training a candidate again moves scores.

From every run in the store that differs from another in its seed alone, and from what is shipped.
"""

from pathlib import Path

import numpy as np

from ablate.catalog.noise_floors import COMPOSITE, Measurement, Repeated, Run
from ablate.config.study import Study
from ablate.design import Candidate
from ablate.search.explore import rounds_so_far
from ablate.stats.bootstrap import Sample
from ablate.stats.noise import Noise, pooled, squares_within
from ablate.store.answers import repeated_sample
from ablate.store.artifacts import Store
from ablate.store.replicates import Repetition, Subject, repetition, trained_by
from ablate.store.results import StoredResults


def subject_of(study: Study, store: Store) -> Subject:
    """The recipe and suite of the study's first candidate."""
    seen = StoredResults(store, study)
    first: Candidate = rounds_so_far(study, seen, 1)[0].candidates[0]
    return trained_by(seen.steps(first)[-1]).subject


def floor_by_task(repeated: Repetition) -> dict[str, Noise]:
    """Training noise of the composite, then of each task; of none that nobody has measured."""
    questions = next((runs[0].questions for runs in repeated.runs.values()), ())
    sample = repeated_sample(repeated.runs, questions)
    parts = _parts(sample) if sample else {}
    made = {}
    for name in (COMPOSITE, *sorted({*parts, *repeated.floors} - {COMPOSITE})):
        within = [squares_within(parts[name])] if name in parts else []
        if noise := pooled(within, repeated.floors.get(name, ())):
            made[name] = noise
    return made


def _parts(sample: Sample) -> dict[str, Sample]:
    """All of a sample, and each of its tasks alone."""
    return {COMPOSITE: sample, **{task: sample.only((task,)) for task in sample.tasks}}


def measurement(home: Path, subject: Subject, about: str) -> Measurement:
    """What the store alone has, as a file of the `noise` folder holds it."""
    repeated = repetition(home, [subject])
    made = []
    for design, runs in sorted(repeated.runs.items()):
        sample = repeated_sample({design: runs}, runs[0].questions)
        assert sample is not None
        parts = _parts(sample)
        scores = {
            name: np.mean([100.0 * runs_of_one.metric for runs_of_one in part.parts], axis=0)
            for name, part in parts.items()
        }
        made.append(
            Repeated(
                name=repeated.names[design],
                design=design,
                runs=tuple(
                    Run(seed=seed, scores={name: _short(each[n]) for name, each in scores.items()})
                    for n, seed in enumerate(repeated.seeds[design])
                ),
                images={
                    name: _short(squares_within(part).images[0]) for name, part in parts.items()
                },
            )
        )
    return Measurement(about=about, recipe=subject[0], suite=subject[1], candidates=tuple(made))


def _short(points: float) -> float:
    return round(float(points), 4)
