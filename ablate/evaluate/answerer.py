"""A trained candidate with all that it takes to ask it something."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ablate.annotators import Annotator
from ablate.catalog import annotators
from ablate.catalog.data_sources import MEAN_COLOUR, parse
from ablate.data.chat import Chat
from ablate.data.images import Colour, read_image
from ablate.data.notes import note
from ablate.errors import UserError
from ablate.files import read_json
from ablate.model.language import load_tokenizer
from ablate.model.mllm import Mllm
from ablate.train.restore import load_trained


@dataclass(frozen=True)
class Answerer:
    """A model and the tokenizer it speaks through; `name` tells its weights from all others.

    `canvas`, `padding`: how images are brought to one size, as in training (`as_array`). `outputs`:
    what annotators say of images, as its prompts show it (see `ablate.data.notes`).
    """

    model: Mllm
    tokenizer: PreTrainedTokenizerBase
    name: str
    canvas: int | None = None
    padding: Colour = MEAN_COLOUR
    outputs: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def load(cls, folder: Path) -> "Answerer":
        """The candidate that the step of training in `folder` left."""
        if not (folder / "spec.json").is_file():
            raise UserError(f"no trained candidate in {folder}: it holds no spec.json")
        model = load_trained(folder)
        spec = read_json(folder / "spec.json")["spec"]
        learnt_from = parse(spec["data"])
        return cls(
            model,
            load_tokenizer(model.spec.llm),
            folder.resolve().name,
            learnt_from.canvas,
            learnt_from.padding,
            spec.get("outputs", ()),
        )

    def require_silent(self) -> None:
        """UserError where its prompts show what annotators say, which the caller cannot ask."""
        if self.outputs:
            names = ", ".join(annotators.label(output["annotator"]) for output in self.outputs)
            raise UserError(
                f"{self.name} is shown what {names} of its outputs says of an image: it can be "
                "scored in its study, explained, talked to and exported, but not asked elsewhere"
            )

    def note(self, image: Path | bytes) -> str:
        """What its prompts have behind a picture: what the annotator of each output says of it, who
        is asked as by the step `annotate`, but on the processor.

        UserError for an image that is none, or where weights are not here.
        """
        if not self.outputs:
            return ""
        texts = [
            text.strip()
            for annotator in self._annotators
            for text in annotator.annotate([read_image(image)])
        ]
        return note(self.outputs, texts, Chat(self.tokenizer).cut)

    @cached_property
    def _annotators(self) -> list[Annotator]:
        loaded = [annotators.build(output["annotator"]) for output in self.outputs]
        for annotator in loaded:
            annotator.load("cpu")
        return loaded

    @property
    def own_canvas(self) -> int | None:
        """The canvas; None where a tiling cuts images, which then keep their size."""
        return None if self.model.tiles.cuts else self.canvas
