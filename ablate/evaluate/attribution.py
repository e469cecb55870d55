"""Where a model looks for one answer: each expert's share in it, place by place.

Gradient times activation (Shrikumar et al. 2016, arXiv 1605.01713) of the answer's log-probability,
at the maps that the fusion is given, after their normalisation. Summed over channels, it is to
first order what the answer loses where a place of a map is set to zero.

Shapes: V views of an image, one where no tiling cuts it, C channels, H W grid.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ablate.data.batch import IGNORE_INDEX
from ablate.data.chat import Chat
from ablate.data.collate import collate
from ablate.data.conversations import IMAGE
from ablate.data.dataset import Sample
from ablate.data.notes import annotated
from ablate.errors import UserError
from ablate.evaluate.answerer import Answerer
from ablate.evaluate.dialogue import Pixels
from ablate.evaluate.turns import without_images
from fusion_zoo import FeatureMap, at_least_fp32
from fusion_zoo.tilings import uncut


def attribute(
    subject: Answerer, question: str, pixels: Pixels, answer: str, note: str = ""
) -> Mapping[str, Tensor]:
    """By expert the (H,W) contributions to the log-probability of this `answer`: above zero where
    what is seen speaks for it, below where it speaks against. Of an image that is cut into tiles
    their sum, on the grid of the finest.

    The question is about the one image; `<image>` in it means none. `note`: what annotators say of
    the image, which stands behind it in the prompt. A base whose blocks the fusion runs itself is
    left out. UserError for an empty answer.
    """
    if not answer:
        raise UserError("the answer is empty: there is nothing to explain")
    model = subject.model.eval()
    tiles, size = model.tiles, (pixels.shape[2], pixels.shape[1])
    chat = Chat(subject.tokenizer)
    asked = annotated(f"{IMAGE}\n{without_images(question)}", iter([note]))
    talk = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    [tokens] = chat.encode([talk])
    seen = tiles.views(pixels) if tiles.cuts else pixels
    batch = collate([Sample(tokens.ids, tokens.learn, [seen], [size] if tiles.cuts else [])])
    with _MapsWatched(model.mixture.fusion) as maps, torch.enable_grad():
        output = model(batch)
        learnt = output.targets != IGNORE_INDEX
        likely = at_least_fp32(output.logits).log_softmax(-1)
        picked = likely.gather(-1, output.targets.clamp(min=0)[..., None])[..., 0]
        gradients = torch.autograd.grad((picked * learnt).sum(), maps.given, allow_unused=True)
    shapes = [len(encoder.shapes) for encoder in model.mixture.all_encoders]
    first = [sum(shapes[:number]) for number in range(len(shapes))]
    inside = model.mixture.fusion.reaches_inside_base
    canvases = tiles.tiling.canvases(size)
    return {
        spec.title: uncut(_summed(maps.given[index], gradients[index]), canvases)
        for number, (spec, index) in enumerate(zip(model.spec.encoders, first, strict=True))
        if number or not inside
    }


def _summed(activation: Tensor, gradient: Tensor | None) -> Tensor:
    """(V,H,W) of (V,C,H,W)."""
    return (activation * (0.0 if gradient is None else gradient)).sum(1).detach()


class _MapsWatched:
    """The maps that a fusion is given within, `given`, as what gradients are taken to."""

    def __init__(self, fusion: nn.Module) -> None:
        self._fusion = fusion
        self.given: list[Tensor] = []

    def __enter__(self) -> "_MapsWatched":
        self._hook = self._fusion.register_forward_pre_hook(self._watch)
        return self

    def __exit__(self, *_: Any) -> None:
        self._hook.remove()

    def _watch(self, fusion: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        maps: Sequence[FeatureMap] = given[0]
        self.given = [feature_map.tensor.detach().requires_grad_() for feature_map in maps]
        return [FeatureMap(tensor) for tensor in self.given], *given[1:]
