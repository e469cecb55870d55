"""A model as one of transformers' own classes, which other servers know, too: no code goes with it.

A format is a subclass of `NativeFormat` in a file of its own: `llava`, `internvl`, `idefics3`.

Shapes: V vocabulary, D model width.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from ablate.catalog.axes import INJECTION
from ablate.data.conversations import IMAGE
from ablate.errors import UserError
from ablate.files import write_atomic
from ablate.model.export import SHARD, Speech, generation_config, require_exportable
from ablate.model.mllm import Mllm

PROJECTOR = "model.multi_modal_projector"
NAMES: Mapping[str, str] = {
    "mixture.encoders.0.model.": "model.vision_tower.",
    "llm.model.": "model.language_model.",
    "llm.lm_head.": "lm_head.",
}
"""What LLaVA, and those that are built as it is, call what every model of ours has."""
EMBEDDED = "llm.model.embed_tokens.weight"
HEAD = "llm.lm_head.weight"


class NativeFormat(ABC):
    """How a model is written as one of `model_class`, with its processor.

    `names`: how the names of our tensors begin, and those of the same in that class.
    """

    word: ClassVar[str]
    """What `--as` calls it."""
    title: ClassVar[str]
    model_class: ClassVar[type[PreTrainedModel]]
    names: ClassVar[Mapping[str, str]]

    def __init__(self, model: Mllm, speech: Speech) -> None:
        self.model, self.speech = model, speech
        self.spec, self.encoder = model.spec, model.spec.encoders[0]

    def differences(self) -> Iterator[str]:
        """In what the model is none of the class; a subclass says more."""
        spec, encoder = self.spec, self.encoder
        if len(spec.encoders) > 1:
            yield f"it has {len(spec.encoders)} encoders, not one"
        if encoder.layer is not None or encoder.dense or encoder.pyramid or encoder.tile:
            yield f"encoder '{encoder.title}' gives more or other than the map of its last block"
        if spec.fusion["name"] != "channel_concat" or tuple(spec.fusion["grid"]) != encoder.grid:
            yield f"fusion {spec.fusion['name']} resizes the encoder's map or does more to it"
        if spec.injection != INJECTION.default:
            yield f"its injection is {spec.injection['name']}, not prefix"
        if spec.feature_norm != "none":
            yield "feature_norm is not 'none'"
        if self.speech.outputs:
            names = ", ".join(output["annotator"] for output in self.speech.outputs)
            yield f"its prompts show what {names} says of an image"
        if EMBEDDED not in self.model.state_dict():
            yield self._other_layout

    @abstractmethod
    def processor(self) -> ProcessorMixin:
        """What makes of conversations and images what the class takes; its tokenizer may know
        tokens that the model's own does not."""

    @abstractmethod
    def config(self, text: PreTrainedConfig, image: int) -> PreTrainedConfig:
        """What the class is built from. `text`: the language model's; `image`: an image's token."""

    def tensors(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> dict[str, Tensor]:
        """The model's, by our names, with room for so many tokens."""
        state = self.model.state_dict()
        ends = {EMBEDDED, HEAD} & state.keys()
        return {**state, **{name: with_room(state[name], vocabulary) for name in ends}}

    @property
    def tower(self) -> Any:
        """What its encoder holds of transformers."""
        return self.model.mixture.all_encoders[0].model

    @property
    def _other_layout(self) -> str:
        return f"the language model {self.spec.llm.name} is not laid out as Llama is"

    def require(self) -> None:
        """UserError names the first thing in which the model is none of the class."""
        require_exportable(self.model)
        for why in self.differences():
            self._refuse(why)
        self._filled(self.processor().tokenizer)

    def write(self, folder: Path, card: str) -> None:
        """Write the model, of which `require` finds nothing, into `folder`; the `card` is its
        README.md."""
        processor = self.processor()
        whole = self._filled(processor.tokenizer)
        known, room = self.model.llm.config.vocab_size, whole.config.text_config.vocab_size
        whole.generation_config = generation_config(self.model, self.speech)
        whole.generation_config.suppress_tokens = [*range(known, room)] or None
        whole.save_pretrained(folder, max_shard_size=SHARD)
        processor.save_pretrained(folder)
        write_atomic(folder / "README.md", card)

    def _filled(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        """The class with the model's weights; its vocabulary has room for all of the tokenizer."""
        ours = self.model.llm.config
        text = type(ours).from_dict(ours.to_dict())
        text.vocab_size = max(text.vocab_size, len(tokenizer))
        with torch.device("meta"):
            whole = self.model_class(self.config(text, int(tokenizer.convert_tokens_to_ids(IMAGE))))
        tensors = self.tensors(tokenizer, text.vocab_size)
        placed = {self._theirs(name): tensor for name, tensor in tensors.items()}
        if placed.keys() != whole.state_dict().keys():
            self._refuse(self._other_layout)
        whole.load_state_dict(placed, assign=True)
        whole.tie_weights()
        return whole

    def _theirs(self, name: str) -> str:
        """What the class calls a tensor of ours; as we do, where it knows none of the kind."""
        begin = next((begin for begin in self.names if name.startswith(begin)), "")
        return self.names.get(begin, "") + name.removeprefix(begin)

    def _refuse(self, why: str) -> None:
        raise UserError(
            f"{why}: it is no {self.title} as transformers has it; leave out --as {self.word}"
        )


def with_room(rows: Tensor, vocabulary: int) -> Tensor:
    """(V,D) with more rows, for tokens that are read and never said: each is the first row again,
    for what does not know which to suppress."""
    return torch.cat([rows, rows[:1].expand(vocabulary - len(rows), -1)])
