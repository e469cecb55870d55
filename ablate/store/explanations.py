"""The step that says where each expert of a trained candidate looks for some of its answers.

Imports no torch.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ablate.catalog.step_kinds import EVALUATE, EXPLAIN
from ablate.files import UNREADABLE, read_json
from ablate.home import Home
from ablate.store.answers import Key
from ablate.store.artifacts import Store
from ablate.store.steps import Step

EXPLAINED = "explained.json"
"""What it leaves: a list of {"task", "id", "question", "truth", "answer", "picture": a small WebP
of what the model saw in base64, "maps": {expert: [[...], ...]}}."""

Map = Sequence[Sequence[float]]
"""An expert's contributions, rows of its grid."""


@dataclass(frozen=True)
class Explained:
    """One answer of a candidate about a `picture` (WebP), and by expert what speaks for it."""

    question: str
    truth: str
    answer: str
    picture: bytes
    maps: Mapping[str, Map]


Explanations = Mapping[Key, Explained]
"""By question."""


def explain_step(evaluation: Step, questions: Sequence[Key]) -> Step:
    """Of the answers that `evaluation` has of these questions."""
    spec = {"questions": [list(key) for key in questions]}
    return Step(EXPLAIN, evaluation.slug, spec, {**evaluation.parents, EVALUATE: evaluation})


def load_explained(
    store: Store, evaluations: Iterable[tuple[str, Step]]
) -> dict[str, Explanations]:
    """By name what was explained of the answers of an evaluation; the first of a name counts.

    Names of which nothing was explained are left out.
    """
    folder = Home(store.home).store / EXPLAIN
    if not folder.is_dir():
        return {}
    evaluation_of: dict[str, Step] = {}
    for name, evaluation in evaluations:
        evaluation_of.setdefault(name, evaluation)
    named = {evaluation.key: name for name, evaluation in evaluation_of.items()}
    loaded: dict[str, dict[Key, Explained]] = {}
    for file in sorted(folder.glob("*/spec.json")):
        with suppress(*UNREADABLE):
            written = read_json(file)
            name = named[written["parents"][EVALUATE]["key"]]
            asked = [(task, number) for task, number in written["spec"]["questions"]]
            step = explain_step(evaluation_of[name], asked)
            if (record := store.record(step)) is not None:
                loaded.setdefault(name, {}).update(_read(store.verified(step, record) / EXPLAINED))
    return {**loaded}


def _read(file: Path) -> dict[Key, Explained]:
    return {
        (row["task"], row["id"]): Explained(
            row["question"],
            row["truth"],
            row["answer"],
            base64.b64decode(row["picture"]),
            row["maps"],
        )
        for row in read_json(file)
    }
