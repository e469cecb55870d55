"""The steps whose results proxies look at: one for each encoder, one for the language model.

Nothing here imports torch.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from ablate.catalog import plugins, step_kinds
from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.map_encoders import drawn_by
from ablate.config.study import Study
from ablate.design import encoder_spec, llm_spec
from ablate.errors import UserError
from ablate.files import read_json
from ablate.proxies._interface import Evidence, Floats, View
from ablate.proxies.cka import cka
from ablate.store.canonical import Part
from ablate.store.steps import Step

IMAGES, MIRRORED = 512, 128
"""Images that are looked at, and how many of them in mirror image, too."""
FINEST = 8
"""The longest side of the grid on which places are compared."""
FEATURES, TEXTS = "features.safetensors", "texts.json"


def features_step(study: Study, title: str = "") -> Step:
    """The step that looks through the encoder of that title, or where there is none reads the texts
    with the language model of the base: on the data of the first stage that trains a whole mixture.

    Its key holds what the features of a frozen model hang on, and no training.
    """
    if title and drawn_by(encoder_spec(title)):
        raise UserError(f"no proxy knows of '{title}', which begins at random")
    base = study.base
    stages = base.recipe.stages()
    stage = next(
        stage
        for name, stage in stages.items()
        if not step_kinds.find(base.recipe.kind(name)).per_expert
    )
    source = study.data[stage.data]
    height, width = base.fusion.grid
    spec: dict[str, Any] = {
        "llm": llm_spec(base.llm).to_json(),
        "data": Part(source.model_dump(mode="json"), fingerprint=fingerprint(source)),
        "prompt": stage.prompt,
        "max_length": stage.max_length,
        "images": IMAGES,
        "mirrored": MIRRORED,
    }
    if not title:
        return Step(step_kinds.FEATURES, base.llm, spec)
    encoder = encoder_spec(title).to_json()
    spec |= {"encoder": encoder, "grid": [min(height, FINEST), min(width, FINEST)]}
    family = [("encoder family", encoder["family"])]
    for name, code in (("plugins", plugins.described), ("revisions", plugins.revisions)):
        if plug_in := code(family):
            spec[name] = plug_in
    return Step(step_kinds.FEATURES, title, spec)


@dataclass(frozen=True)
class Seen:
    """What the finished steps found: `views` by an encoder's title, the rest as in `Evidence`."""

    views: Mapping[str, View]
    text: Floats
    words: NDArray[np.bool_]

    @classmethod
    def load(cls, eyes: Mapping[str, Path], reader: Path) -> "Seen":
        """From what the steps of encoders, by title, and of the language model have left."""
        text = load_file(reader / FEATURES)["text"].astype(np.float64)
        words = _words(read_json(reader / TEXTS))
        return cls({title: _view(eye) for title, eye in eyes.items()}, text, words)

    def of(
        self, encoders: Iterable[str], losses: Sequence[float] = (), smaller: float | None = None
    ) -> Evidence:
        """What is known of the mixture of these encoders."""
        views = [self.views[title] for title in encoders]
        return Evidence(views, self.text, self.words, losses, smaller)

    def alike(self) -> dict[str, dict[str, float]]:
        """The linear CKA of each two encoders."""
        return {
            expert: {other: cka(view.pooled, self.views[other].pooled) for other in self.views}
            for expert, view in self.views.items()
        }


def _view(eye: Path) -> View:
    seen = load_file(eye / FEATURES)
    return View(**{name: values.astype(np.float64) for name, values in seen.items()})


def _words(texts: Sequence[str]) -> NDArray[np.bool_]:
    """(N,V): which words, without case, are in which text."""
    words = [set(re.findall(r"\w+", text.casefold())) for text in texts]
    known = sorted(set().union(*words))
    return np.array([[word in each for word in known] for each in words]).reshape(len(texts), -1)
