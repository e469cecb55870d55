"""The noise floor of a study's recipe and suite: how far training a candidate again moves scores.

From every run in the store that differs from another in its seed alone, and from what is shipped.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ablate.catalog.noise_floors import COMPOSITE, Measurement, Repeated, Run
from ablate.config.study import Study
from ablate.design import Candidate
from ablate.search.explore import rounds_so_far
from ablate.stats.noise import Noise, pooled, squares_within
from ablate.store.answers import Answers, repeated_sample
from ablate.store.artifacts import Store
from ablate.store.replicates import Repetition, Subject, repetition, trained_by
from ablate.store.results import StoredResults


def subject_of(study: Study, store: Store) -> Subject:
    """The recipe and suite of the study's first candidate."""
    seen = StoredResults(store, study)
    first: Candidate = rounds_so_far(study, seen, 1)[0].candidates[0]
    return trained_by(seen.steps(first)[-1]).subject


def floor_by_task(found: Repetition) -> dict[str, Noise]:
    """Training noise of the composite, then of each task; of none that nobody has measured."""
    tasks = sorted({task for runs in found.runs.values() for task, _ in runs[0].questions})
    names = [COMPOSITE, *sorted({*tasks, *found.floors} - {COMPOSITE})]
    made = {}
    for name in names:
        runs = {key: runs for key, runs in found.runs.items() if _asked(runs, name)}
        questions = next(iter(runs.values()))[0].questions if runs else []
        sample = repeated_sample(runs, questions)
        if sample and name != COMPOSITE:
            sample = sample.only((name,))
        within = [squares_within(sample)] if sample else []
        if noise := pooled(within, found.floors.get(name, ())):
            made[name] = noise
    return made


def _asked(runs: Sequence[Answers], name: str) -> bool:
    return name == COMPOSITE or any(task == name for task, _ in runs[0].questions)


def measurement(home: Path, subject: Subject, about: str) -> Measurement:
    """What the store alone has, as a file of the `noise` folder holds it."""
    found = repetition(home, [subject])
    made = []
    for design, runs in sorted(found.runs.items()):
        sample = repeated_sample({design: runs}, runs[0].questions)
        assert sample is not None
        parts = {COMPOSITE: sample, **{task: sample.only((task,)) for task in sample.tasks}}
        scores = {
            name: np.mean([100.0 * part.metric for part in own.parts], axis=0)
            for name, own in parts.items()
        }
        made.append(
            Repeated(
                name=found.names[design],
                design=design,
                runs=tuple(
                    Run(seed=seed, scores={name: _short(each[n]) for name, each in scores.items()})
                    for n, seed in enumerate(found.seeds[design])
                ),
                images={name: _short(squares_within(own).images[0]) for name, own in parts.items()},
            )
        )
    return Measurement(about=about, recipe=subject[0], suite=subject[1], candidates=tuple(made))


def _short(points: float) -> float:
    return round(float(points), 4)
