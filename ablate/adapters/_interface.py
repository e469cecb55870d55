"""What an adapter is, and what those of linear layers share."""

from collections.abc import Sequence
from typing import ClassVar

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


class Adapter:
    """What learns in a part of a model while the part's own weights stay, all or most of them.

    A part is a module: a `ModuleList` of encoders, a fusion, a projector, a language model.
    `exact`: whether the part computes as before when it is attached, and not only nearly so.
    """

    exact: ClassVar[bool] = True

    def attach(self, part: nn.Module) -> Sequence[nn.Parameter]:
        """Change the part in place, on any device, also torch's meta device; what learns in it.

        At first it computes as before, if it is `exact`. Random numbers come from torch's
        generator, which is seeded.
        Raises UserError or ValueError where the part has no place for it.
        """
        raise NotImplementedError

    def bytes_saved(self, part: nn.Module) -> int:
        """How many bytes the part takes less than before it was attached, but for what it adds."""
        return 0

    def merge(self, part: nn.Module) -> None:
        """Fold what was learnt into the part's own weights, in place.

        After it the part has the modules, parameters and names of before `attach`, and computes
        what it learnt to. By default there is nothing to fold: the part's own parameters learnt.
        """


def linear_layers(part: nn.Module) -> dict[str, nn.Module]:
    """The linear layers of a part by name, but for those that something in it uses without calling.

    Those are a language model's output layer, whose weights may be the embedding's too, what is
    inside torch's attention, and timm's joint layer for queries, keys and values with biases apart.
    """
    head = part.get_output_embeddings() if isinstance(part, PreTrainedModel) else None
    layers = {}
    for outer, parent in part.named_modules():
        apart = getattr(parent, "q_bias", None) is not None
        for name, layer in parent.named_children():
            uncalled = isinstance(parent, nn.MultiheadAttention) or (apart and name == "qkv")
            if isinstance(layer, nn.Linear | Conv1D) and layer is not head and not uncalled:
                layers[f"{outer}.{name}".lstrip(".")] = layer
    return layers
