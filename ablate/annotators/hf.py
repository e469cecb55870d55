"""Any model of transformers that writes what an image shows, such as TrOCR or Florence-2."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from ablate.annotators._hub import HubModel
from ablate.annotators._interface import Annotator, Pixels
from ablate.cost.encoders import Cost
from ablate.errors import UserError
from ablate.files import disk_cache

TEMPLATE = "Text in the image: {text}"
TOKENS = 128

SIZES = {"florence-community/Florence-2-large": Cost(770_173_952, 1_735_470_661_632)}
"""Of models that a study can be planned with before they are here, by their published
configurations: an image of 768 pixels, an answer of 64 tokens."""
READS = 256
"""Tokens that a model is taken to read which cannot be run without memory. A guess."""


class Hf(HubModel, Annotator):
    """`model`: a folder (its whole path), or a repository that `ablate fetch` brings; loaded as
    `AutoModelForImageTextToText`, in the precision of its file. `prompt`: what it is asked, such as
    `<OCR>` of Florence-2; nothing for a model that takes none. Answers are greedy, of at most
    `max_new_tokens`."""

    called: ClassVar[str] = "hf:"

    def __init__(self, *, model: str = "", prompt: str = "", max_new_tokens: int = 64) -> None:
        super().__init__(model)
        if max_new_tokens < 1:
            raise UserError(f"max_new_tokens: at least one, got {max_new_tokens}")
        self.prompt, self.max_new_tokens = prompt, max_new_tokens

    def cost(self) -> Cost | None:
        """Of an image at the size it takes, with an answer of `max_new_tokens`. UserError for a
        folder that holds no such model."""
        if self.folder is None:
            return SIZES.get(self.model)
        with self.loading():
            figures = disk_cache(
                "annotators",
                [dict(self.weights()), self.prompt, self.max_new_tokens],
                lambda: _measured(str(self.folder), self.prompt, self.max_new_tokens),
            )
        return Cost(figures["parameters"], figures["flops"])

    def read(self, folder: Path) -> tuple[Any, Any]:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        network = AutoModelForImageTextToText.from_pretrained(
            folder, dtype="auto", use_safetensors=True, local_files_only=True
        )
        return network, AutoProcessor.from_pretrained(folder, local_files_only=True)

    def annotate(self, images: Sequence[Pixels]) -> Sequence[str]:
        """One by one: padding would move what some models say."""
        return [self._text(image) for image in images]

    def _text(self, image: Pixels) -> str:
        import torch

        given = _inputs(self.processor, image, self.prompt)
        given = given.to(self.network.device, self.network.dtype)
        with torch.inference_mode():
            [ids] = self.network.generate(
                **given, do_sample=False, num_beams=1, max_new_tokens=self.max_new_tokens
            )
        if not self.network.config.is_encoder_decoder and "input_ids" in given:
            ids = ids[given["input_ids"].shape[1] :]
        text: str = self.processor.batch_decode([ids], skip_special_tokens=True)[0]
        return " ".join(text.split())


def _inputs(processor: Any, image: Pixels, prompt: str) -> Any:
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    words = {"text": prompt} if prompt else {}
    return processor(images=picture, return_tensors="pt", **words)


def _measured(folder: str, prompt: str, written: int) -> dict[str, int]:
    """Parameters and FLOPs of one image, of the network built without memory."""
    import numpy as np
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    given = dict(_inputs(processor, np.zeros((3, 480, 640), dtype=np.uint8), prompt))
    with torch.device("meta"), torch.no_grad():
        network = AutoModelForImageTextToText.from_config(config).eval().requires_grad_(False)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    answer = torch.zeros(1, written, dtype=torch.long)
    if config.is_encoder_decoder:
        given["decoder_input_ids"] = answer
    elif "input_ids" in given:
        given["input_ids"] = torch.cat([given["input_ids"], answer], dim=1)
        given.pop("attention_mask", None)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(**{name: tensor.to("meta") for name, tensor in given.items()})
        flops = counter.get_total_flops()
    except Exception:  # a model may look at values, which are not there
        flops = 2 * parameters * (READS + written)
    return {"parameters": parameters, "flops": flops}
