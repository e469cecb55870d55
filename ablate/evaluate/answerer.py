"""A trained candidate with all that it takes to ask it something."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ablate.annotators import Annotator, MapAnnotator, Pixels
from ablate.catalog import annotators
from ablate.catalog.data_sources import MEAN_COLOUR, parse
from ablate.catalog.map_encoders import drawn_by
from ablate.data.chat import Chat
from ablate.data.images import Colour, read_image
from ablate.data.maps import laid_behind, packed
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
        """UserError where it is shown what annotators say or draw, which the caller cannot ask."""
        asked = [*(output["annotator"] for output in self.outputs), *self.drawers]
        if asked:
            names = ", ".join(map(annotators.label, asked))
            raise UserError(
                f"{self.name} is shown what {names} finds in an image: it can be scored in its "
                "study, explained and talked to, but not asked elsewhere"
            )

    @property
    def drawers(self) -> list[dict[str, Any]]:
        """The annotators whose maps its encoders look at."""
        return [*filter(None, map(drawn_by, self.model.spec.encoders))]

    def picture(self, image: Path | bytes) -> Pixels:
        """What it looks at of a picture: (3,H,W), or with maps behind the colours (3+K,H,W), drawn
        as by the step `annotate`, but on the processor.

        UserError for an image that is none, or where weights are not here.
        """
        pixels = read_image(image, self.own_canvas, self.padding)
        if not self._drawers:
            return pixels
        whole = read_image(image)
        maps = [packed(drawer.draw([whole])[0], whole) for drawer in self._drawers]
        return laid_behind(pixels, maps, padded=self.own_canvas is not None)

    def note(self, image: Path | bytes) -> str:
        """What its prompts have behind a picture: what the annotator of each output says of it, who
        is asked as by the step `annotate`, but on the processor.

        UserError for an image that is none, or where weights are not here.
        """
        if not self.outputs:
            return ""
        texts = [
            text.strip()
            for speaker in self._speakers
            for text in speaker.annotate([read_image(image)])
        ]
        return note(self.outputs, texts, Chat(self.tokenizer).cut)

    @cached_property
    def _speakers(self) -> list[Annotator]:
        speakers = [annotators.speaker(output["annotator"]) for output in self.outputs]
        for speaker in speakers:
            speaker.load("cpu")
        return speakers

    @cached_property
    def _drawers(self) -> list[MapAnnotator]:
        drawers = [annotators.drawer(choice) for choice in self.drawers]
        for drawer in drawers:
            drawer.load("cpu")
        return drawers

    @property
    def own_canvas(self) -> int | None:
        """The canvas; None where a tiling cuts images, which then keep their size."""
        return None if self.model.tiles.cuts else self.canvas
