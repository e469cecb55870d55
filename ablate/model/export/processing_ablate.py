"""From conversations and images to what the model takes.

Shapes: B prompts, T tokens, I images, V views of all of them (one each, unless a tiling cuts them),
H W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin
from transformers.image_utils import load_image

from ablate.data.chat import cut
from ablate.data.images import as_array
from ablate.data.notes import annotated, note
from ablate.data.tiles import Tiles
from fusion_zoo.tilings import tiling_of

IMAGE = "<image>"
NONE = {"choice": {"name": "none"}, "side": 1, "tokens": 0, "grid": None, "runs": 1}


class AblateProcessor(ProcessorMixin):  # type: ignore[misc]
    """A tokenizer, and how images are brought to one size.

    tiles: the tiling ("choice", as in the configuration), the "side" of a view in pixels, the
    "tokens" that one becomes, their "grid", and the "runs" that an image's tokens are cut into, of
    which the first stands in the context. canvas: pixels of the square that an image is padded and
    resized to (None: it stays as it is, and is cut, or resized by each encoder); padding: the
    colour it is padded with. outputs: what its prompts show of each image beside it: what an
    "annotator" says, in a "template", up to so many "tokens".
    """

    attributes = ("tokenizer",)
    tokenizer_class = "AutoTokenizer"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None = None,
        tiles: Mapping[str, Any] | None = None,
        canvas: int | None = None,
        padding: Sequence[int] = (0, 0, 0),
        outputs: Sequence[Mapping[str, Any]] = (),
        chat_template: str | None = None,
        **_: Any,
    ) -> None:
        self.tiles = dict(tiles or NONE)
        self._tiles = _tiles(**self.tiles)
        self.canvas = canvas
        self.padding = list(padding)
        self.outputs = list(outputs)
        super().__init__(tokenizer, chat_template=chat_template)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        outputs: Sequence[Sequence[str]] | None = None,
        **_: Any,
    ) -> BatchFeature:
        """Prompts with an `<image>` for each image, which are given in their order, as are of each
        image the `outputs`, a text an annotator, empty where that says nothing.

        input_ids, attention_mask: (B,T) padded on the left; pixel_values: (V,3,H,W) uint8;
        image_starts: (I,2) the row and column of each image's first token, or of the next where it
        has none; image_sizes: (I,2) widths and heights, where a tiling cuts them. ValueError where
        the numbers do not match, or images differ in size that are not cut.
        """
        texts = [text] if isinstance(text, str) else list(text or [])
        arrays = [self._array(picture) for picture in _flat(images)]
        wanted = sum(prompt.count(IMAGE) for prompt in texts)
        if wanted != len(arrays):
            raise ValueError(f"{len(arrays)} images for {wanted} {IMAGE} in the text")
        texts = self._noted(texts, outputs, len(arrays))
        sizes = [(array.shape[2], array.shape[1]) for array in arrays]
        lengths = iter(map(self._tiles.count, sizes))
        rows = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        image = self.tokenizer.convert_tokens_to_ids(IMAGE)
        spread = [_spread(row, image, lengths) for row in rows]
        longest = max((len(ids) for ids, _ in spread), default=0)
        input_ids = torch.full((len(rows), longest), self.tokenizer.pad_token_id)
        mask, starts = torch.zeros_like(input_ids), []
        for number, (ids, begins) in enumerate(spread):
            start = longest - len(ids)
            input_ids[number, start:], mask[number, start:] = torch.tensor(ids), 1
            starts += [(number, start + column) for column in begins]
        read = {"input_ids": input_ids, "attention_mask": mask}
        if not arrays:
            return BatchFeature(read)
        seen = {"pixel_values": self._pixels(arrays), "image_starts": torch.tensor(starts)}
        sized = {"image_sizes": torch.tensor(sizes)} if self._tiles.cuts else {}
        return BatchFeature({**read, **seen, **sized})

    def _noted(
        self, texts: list[str], outputs: Sequence[Sequence[str]] | None, images: int
    ) -> list[str]:
        """The prompts, behind each of so many images what is said of it."""
        if not self.outputs and outputs is None:
            return texts
        of_images = [list(texts_of) for texts_of in outputs or ()]
        if [len(of_image) for of_image in of_images] != [len(self.outputs)] * images:
            names = ", ".join(output["annotator"] for output in self.outputs) or "no annotator"
            raise ValueError(
                f"the prompts of this model show what {names} says of an image: give as outputs a "
                f"list of {len(self.outputs)} texts for each of {images} images"
            )
        limit = partial(cut, self.tokenizer)
        stripped = [[text.strip() for text in of_image] for of_image in of_images]
        notes = iter([note(self.outputs, of_image, limit) for of_image in stripped])
        return [annotated(text, notes) for text in texts]

    def _array(self, picture: Any) -> npt.NDArray[np.uint8]:
        red, green, blue = self.padding
        return as_array(_opened(picture), self.canvas, (red, green, blue))

    def _pixels(self, arrays: Sequence[npt.NDArray[np.uint8]]) -> torch.Tensor:
        if self._tiles.cuts:
            return torch.from_numpy(np.concatenate([self._tiles.views(array) for array in arrays]))
        sizes = sorted({array.shape[1:] for array in arrays})
        if len(sizes) > 1:
            raise ValueError(f"images of {sizes[0]} and {sizes[1]} pixels in one batch")
        return torch.from_numpy(np.stack(arrays))

    def batch_decode(self, *given: Any, **how: Any) -> list[str]:
        """As the tokenizer's."""
        texts: list[str] = self.tokenizer.batch_decode(*given, **how)
        return texts

    @property
    def model_input_names(self) -> list[str]:
        images = ["pixel_values", "image_starts", *["image_sizes"] * self._tiles.cuts]
        return [*self.tokenizer.model_input_names, *images]


def _tiles(
    choice: Mapping[str, Any], side: int, tokens: int, grid: Sequence[int] | None, runs: int
) -> Tiles:
    rows_and_columns = None if grid is None else (grid[0], grid[1])
    return Tiles(tiling_of(choice, side), tokens, rows_and_columns, runs)


def _spread(ids: Sequence[int], image: int, lengths: Iterator[int]) -> tuple[list[int], list[int]]:
    """A prompt whose images are so many tokens each, and where in it each of them begins."""
    spread, begins = list[int](), []
    for token in ids:
        if token == image:
            begins.append(len(spread))
        spread += [token] * (next(lengths) if token == image else 1)
    return spread, begins


def _flat(images: Any) -> Any:
    """Images one by one, however deep they lie in lists."""
    if images is None:
        return
    if isinstance(images, list | tuple):
        for image in images:
            yield from _flat(image)
    else:
        yield images


def _opened(image: Any) -> Image.Image:
    """A picture, a path or an address as a picture; not turned nor converted yet."""
    return image if isinstance(image, Image.Image) else load_image(image)
