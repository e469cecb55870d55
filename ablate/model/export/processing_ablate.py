"""From conversations and images to what the model takes.

Shapes: I images, H W pixels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin
from transformers.image_utils import load_image

from ablate.data.images import as_array

IMAGE = "<image>"


class AblateProcessor(ProcessorMixin):  # type: ignore[misc]
    """A tokenizer, and how images are brought to one size.

    image_seq_length: visual tokens of an image; canvas: pixels of the square that an image is
    padded and resized to (None: it stays as it is, and each encoder resizes it); padding: the
    colour it is padded with.
    """

    attributes = ("tokenizer",)
    tokenizer_class = "AutoTokenizer"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None = None,
        image_seq_length: int = 0,
        canvas: int | None = None,
        padding: Sequence[int] = (0, 0, 0),
        chat_template: str | None = None,
        **_: Any,
    ) -> None:
        self.image_seq_length = image_seq_length
        self.canvas = canvas
        self.padding = list(padding)
        super().__init__(tokenizer, chat_template=chat_template)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        return_tensors: str = "pt",
        **_: Any,
    ) -> BatchFeature:
        """Prompts with an `<image>` for each image, which are given in their order.

        input_ids, attention_mask: padded on the left; pixel_values: (I,3,H,W) uint8. ValueError
        where the numbers do not match, or images of one batch differ in size.
        """
        texts = [text] if isinstance(text, str) else list(text or [])
        pictures = list(_flat(images))
        wanted = sum(prompt.count(IMAGE) for prompt in texts)
        if wanted != len(pictures):
            raise ValueError(f"{len(pictures)} images for {wanted} {IMAGE} in the text")
        spread = [prompt.replace(IMAGE, IMAGE * self.image_seq_length) for prompt in texts]
        encoded = dict(
            self.tokenizer(
                spread,
                add_special_tokens=False,
                padding=True,
                padding_side="left",
                return_tensors=return_tensors,
            )
        )
        encoded.pop("token_type_ids", None)
        if pictures:
            encoded["pixel_values"] = self._pixels(pictures)
        return BatchFeature(encoded)

    def _pixels(self, pictures: Sequence[Any]) -> torch.Tensor:
        red, green, blue = self.padding
        arrays = [
            torch.from_numpy(as_array(_opened(picture), self.canvas, (red, green, blue)))
            for picture in pictures
        ]
        sizes = sorted({tuple(array.shape[1:]) for array in arrays})
        if len(sizes) > 1:
            raise ValueError(f"images of {sizes[0]} and {sizes[1]} pixels in one batch")
        return torch.stack(arrays)

    def batch_decode(self, *given: Any, **how: Any) -> list[str]:
        """As the tokenizer's."""
        texts: list[str] = self.tokenizer.batch_decode(*given, **how)
        return texts

    @property
    def model_input_names(self) -> list[str]:
        return [*self.tokenizer.model_input_names, "pixel_values"]


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
