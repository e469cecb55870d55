"""A trained candidate with all that it takes to ask it something."""

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from ablate.catalog.data_sources import MEAN_COLOUR, parse
from ablate.data.images import Colour
from ablate.errors import UserError
from ablate.files import read_json
from ablate.model.language import load_tokenizer
from ablate.model.mllm import Mllm
from ablate.train.restore import load_trained


@dataclass(frozen=True)
class Answerer:
    """A model and the tokenizer it speaks through; `name` tells its weights from all others.

    `canvas`, `padding`: how images are brought to one size, as in training (`as_array`).
    """

    model: Mllm
    tokenizer: PreTrainedTokenizerBase
    name: str
    canvas: int | None = None
    padding: Colour = MEAN_COLOUR

    @classmethod
    def load(cls, folder: Path) -> "Answerer":
        """The candidate that the step of training in `folder` left."""
        if not (folder / "spec.json").is_file():
            raise UserError(f"no trained candidate in {folder}: it holds no spec.json")
        model = load_trained(folder)
        learnt_from = parse(read_json(folder / "spec.json")["spec"]["data"])
        return cls(
            model,
            load_tokenizer(model.spec.llm),
            folder.resolve().name,
            learnt_from.canvas,
            learnt_from.padding,
        )

    @property
    def own_canvas(self) -> int | None:
        """The canvas; None where a tiling cuts images, which then keep their size."""
        return None if self.model.tiles.cuts else self.canvas
