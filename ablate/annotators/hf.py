"""Any model of transformers that writes what an image shows, such as TrOCR or Florence-2."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablate.annotators._interface import Annotator, Pixels
from ablate.catalog import weights as hub
from ablate.cost.encoders import Cost
from ablate.errors import UserError
from ablate.files import disk_cache, sha256_files

TEMPLATE = "Text in the image: {text}"
TOKENS = 128

CONTENT = {".json", ".safetensors", ".txt", ".model", ".jinja"}
"""Files of a model that decide what it says. No pickle is read."""
SIZES = {"florence-community/Florence-2-large": Cost(770_173_952, 1_735_470_661_632)}
"""Of models that a study can be planned with before they are here, by their published
configurations: an image of 768 pixels, an answer of 64 tokens."""
READS = 256
"""Tokens that a model is taken to read which cannot be run without memory. A guess."""


class Hf(Annotator):
    """`model`: a folder (its whole path), or a repository that `ablate fetch` brings; loaded as
    `AutoModelForImageTextToText`, in the precision of its file. `prompt`: what it is asked, such as
    `<OCR>` of Florence-2; nothing for a model that takes none. Answers are greedy, of at most
    `max_new_tokens`."""

    def __init__(self, *, model: str = "", prompt: str = "", max_new_tokens: int = 64) -> None:
        if not model:
            raise UserError("name its model, as in hf:ORGANISATION/NAME or hf:/FOLDER")
        if not hub.REPOSITORY.fullmatch(model) and not (Path(model) / "config.json").is_file():
            raise UserError(f"no config.json in '{model}', nor is that the name of a repository")
        if max_new_tokens < 1:
            raise UserError(f"max_new_tokens: at least one, got {max_new_tokens}")
        self.model, self.prompt, self.max_new_tokens = model, prompt, max_new_tokens

    @property
    def folder(self) -> Path | None:
        """Where its files lie; None where they are not here."""
        if not hub.REPOSITORY.fullmatch(self.model):
            return Path(self.model)
        config = hub.find(self.model, "config.json")
        return config.parent if config else None

    def weights(self) -> Mapping[str, Any]:
        """The content of its files; None while they are not here: enough to plan with."""
        if self.folder is None:
            return {"model": self.model, "content": None}
        files = sorted(path for path in self.folder.iterdir() if path.suffix in CONTENT)
        return {"sha256": sha256_files(files, self.folder)}

    def cost(self) -> Cost | None:
        """Of an image at the size it takes, with an answer of `max_new_tokens`. UserError for a
        folder that holds no such model."""
        if self.folder is None:
            return SIZES.get(self.model)
        with _loading(self.model):
            figures = disk_cache(
                "annotators",
                [dict(self.weights()), self.prompt, self.max_new_tokens],
                lambda: _measured(str(self.folder), self.prompt, self.max_new_tokens),
            )
        return Cost(figures["parameters"], figures["flops"])

    def load(self, device: str) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        if self.folder is None:
            raise hub.missing(f"annotator hf:{self.model}", self.model, "config.json")
        with _loading(self.model):
            self._network = AutoModelForImageTextToText.from_pretrained(
                self.folder, dtype="auto", use_safetensors=True, local_files_only=True
            )
            self._processor = AutoProcessor.from_pretrained(self.folder, local_files_only=True)
        self._network.eval().to(device)

    def annotate(self, images: Sequence[Pixels]) -> Sequence[str]:
        """One by one: padding would move what some models say."""
        return [self._text(image) for image in images]

    def _text(self, image: Pixels) -> str:
        import torch

        given = _inputs(self._processor, image, self.prompt)
        given = given.to(self._network.device, self._network.dtype)
        with torch.inference_mode():
            [ids] = self._network.generate(
                **given, do_sample=False, num_beams=1, max_new_tokens=self.max_new_tokens
            )
        if not self._network.config.is_encoder_decoder and "input_ids" in given:
            ids = ids[given["input_ids"].shape[1] :]
        text: str = self._processor.batch_decode([ids], skip_special_tokens=True)[0]
        return " ".join(text.split())


@contextmanager
def _loading(model: str) -> Iterator[None]:
    """UserError of what the files of a model lack."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"annotator hf:{model}: cannot be loaded: {reason}") from error


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
