"""The multimodal model: what the encoders see, projected, spliced into what the LLM reads.

Shapes: B conversations, T text tokens, I images, L visual tokens an image, D model width,
S the longest spliced sequence, K places of it that some conversation learns from, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from ablate.catalog.model_spec import ModelSpec
from ablate.data.batch import IGNORE_INDEX, IMAGE_TOKEN_ID, Batch
from ablate.encoders.base import Encoder
from ablate.encoders.build import build_encoder
from ablate.errors import UserError
from ablate.model.injection import Injector, MediaView, count_blocks
from ablate.model.instruction import instructions
from ablate.model.language import load_llm
from ablate.model.mixture import Mixture
from ablate.model.splice import SpliceLayout, splice_layout
from fusion_zoo import Fusion, Instruction, LanguageShape
from fusion_zoo.connectors import CONNECTORS, Connector

__all__ = ["Mllm", "ModelSpec", "Prediction", "build_model"]


class Prediction(NamedTuple):
    """What a forward pass says of the tokens that are learnt from."""

    logits: Tensor
    """(B,K,V), in the precision in which the language model computes."""
    targets: Tensor
    """(B,K) int64: the tokens, `IGNORE_INDEX` where a conversation learns nothing."""


class Mllm(nn.Module):
    """A mixture of encoders, a connector and a language model, built by `build_model`.

    `in_lockstep` (default False): all parts work in every forward pass, also in one without images,
    as they must where several processes share their weights and each waits for the others.
    """

    in_lockstep: bool = False

    def __init__(self, spec: ModelSpec, mixture: Mixture, llm: PreTrainedModel) -> None:
        super().__init__()
        self.spec = spec
        self.mixture = mixture
        self.projector = build_connector(spec, mixture.fusion)
        self.llm = llm
        self._injector = Injector(mixture.fusion, llm, spec.llm.name)
        if self.num_visual_tokens >= spec.llm.context:
            self._too_long(self.num_visual_tokens)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """What a recipe may train: `PARTS`, of which "encoders" is a ModuleList."""
        return {
            "encoders": self.mixture.encoders,
            "fusion": self.mixture.fusion,
            "projector": self.projector,
            "llm": self.llm,
        }

    @property
    def num_visual_tokens(self) -> int:
        """Tokens an image becomes."""
        return self.projector.num_tokens

    @property
    def sees_each_question(self) -> bool:
        """Whether what an image becomes is not there once for all questions about it."""
        return self._asks_instruction or bool(self.mixture.fusion.injects)

    @property
    def _asks_instruction(self) -> bool:
        return self.mixture.fusion.asks_instruction or self.projector.asks_instruction

    def checkpoint_activations(self, on: bool = True) -> None:
        """Recompute activations in the backward pass, or keep them again."""
        for encoder in self.mixture.encoders:
            assert isinstance(encoder, Encoder)
            encoder.gradient_checkpointing = on
        if on:
            self.llm.activation_checkpointing_enable()
        else:
            self.llm.activation_checkpointing_disable()

    def forward(self, batch: Batch) -> Prediction:
        """Of `batch`; UserError if a sequence is longer than the LLM's context."""
        embeddings, layout = self._splice(batch, pad_left=False)
        targets = layout.labels(batch.labels)[:, 1:]
        # Logits only at positions that some row learns from; most, the image's above all, do not.
        kept = (targets != IGNORE_INDEX).any(0).nonzero()[:, 0]
        # Padding is on the right, where causal attention does not look: no mask, the fast kernel.
        logits = self.llm(inputs_embeds=embeddings, logits_to_keep=kept, use_cache=False).logits
        return Prediction(logits, targets[:, kept])

    @torch.no_grad()
    def generate(
        self,
        batch: Batch,
        max_new_tokens: int,
        stop_ids: Sequence[int],
        visual: Tensor | None = None,
    ) -> list[list[int]]:
        """The greedy answer to each prompt, up to and without the first of `stop_ids`.

        `visual`: (I,L,D) what `see` makes of the batch's images, whose pixels are not looked at
        then; default: they are seen here, as they must be where the model `sees_each_question`.
        UserError if a prompt and its answer may not fit the LLM's context.
        """
        if visual is not None and self.sees_each_question:
            raise ValueError("what an image becomes differs by question: no `visual` can be given")
        embeddings, layout = self._splice(batch, visual, pad_left=True, room=max_new_tokens)
        config = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=list(stop_ids) or None,
            pad_token_id=stop_ids[0] if stop_ids else 0,
        )
        answers = self.llm.generate(
            inputs_embeds=embeddings, attention_mask=layout.mask.long(), generation_config=config
        )
        self._injector.view = None
        return [_until(answer, stop_ids) for answer in answers.tolist()]

    def _splice(
        self, batch: Batch, visual: Tensor | None = None, *, pad_left: bool, room: int = 0
    ) -> tuple[Tensor, SpliceLayout]:
        """(B,S,D) what the LLM reads, and where everything is in it."""
        is_image = (batch.input_ids == IMAGE_TOKEN_ID) & batch.attention_mask
        counts = torch.bincount(batch.image_rows, minlength=len(is_image))
        if not torch.equal(counts, is_image.sum(1)):
            raise ValueError("the batch's images do not match its <image> tokens, row by row")
        layout = splice_layout(
            is_image, batch.attention_mask, self.num_visual_tokens, pad_left=pad_left
        )
        if layout.mask.shape[1] + room > self.spec.llm.context:
            self._too_long(layout.mask.shape[1] + room)
        text = self.llm.get_input_embeddings()(batch.input_ids[layout.text])
        if visual is None:
            visual = self._look(batch, layout, text)
        return layout.embeddings(text, visual), layout

    def see(self, pixels: Tensor) -> Tensor:
        """The visual tokens of images: (I,3,H,W) uint8 -> (I,L,D).

        Not for a model that `sees_each_question`.
        """
        return self._seen(pixels)[0]

    def _look(self, batch: Batch, layout: SpliceLayout, text: Tensor) -> Tensor:
        """(I,L,D) of the batch's images; what is injected of them is held for the LLM's blocks."""
        context = None
        if self._asks_instruction:
            embedded = text.new_zeros(*layout.text.shape, text.shape[-1])
            context = instructions(batch, embedded.masked_scatter(layout.text[..., None], text))
        visual, media = self._seen(batch.pixels, context)
        if self.mixture.fusion.injects:
            view = None if media is None else MediaView.of(media, batch.image_rows, layout)
            self._injector.view = view
        return visual

    def _seen(
        self, pixels: Tensor, context: Instruction | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """(I,L,D) visual tokens, and the fusion's media (I,M,C) if it has any.

        Of no images in lockstep there are media of one, which is none of the batch.
        """
        images, width = len(pixels), self.spec.llm.width
        if images == 0:
            if not self.in_lockstep:
                none = torch.zeros(0, self.num_visual_tokens, width, device=pixels.device)
                return none, None
            pixels = pixels.new_zeros(1, *pixels.shape[1:])
            if context:
                tokens, mask = context
                context = Instruction(tokens.new_zeros(1, 1, width), mask.new_zeros(1, 1))
        made = self.mixture(pixels, context)
        media = made.pop() if self.mixture.fusion.media else None
        if not made:  # all that it makes is injected
            return torch.zeros(images, 0, width, device=pixels.device), media
        visual = self.projector(made, context)
        return visual[:images], media

    def _too_long(self, tokens: int) -> None:
        llm, fusion = self.spec.llm, self.spec.fusion["name"]
        titles = ", ".join(encoder.title for encoder in self.spec.encoders)
        raise UserError(
            f"{tokens} tokens exceed the context of {llm.name} ({llm.context}): {fusion} of "
            f"{titles} makes {self.num_visual_tokens} tokens of an image; take a smaller grid, "
            "fewer encoders, a connector of fewer tokens or shorter conversations"
        )


def build_connector(spec: ModelSpec, fusion: Fusion) -> Connector:
    """The connector of `spec` behind a fusion; UserError where it cannot take what that gives."""
    options = {**spec.connector}
    name = options.pop("name")
    try:
        connector: Connector = CONNECTORS.build(
            name, fusion.segments, fusion.grids, spec.llm.width, **options
        )
    except ValueError as error:
        raise UserError(f"connector '{name}': {error}") from error
    return connector


def build_model(spec: ModelSpec, *, load_weights: bool = True, seed: int) -> Mllm:
    """The model of `spec`; encoders and LLM with their weights, or random ones.

    `seed` decides the start of fusion and connector, and of a random LLM.
    """
    encoders = [build_encoder(encoder, load_weights=load_weights) for encoder in spec.encoders]
    height, width = spec.fusion["grid"]
    options = spec.fusion["options"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        llm = load_llm(spec.llm, load_weights=load_weights)
        torch.manual_seed(seed)  # whatever loading the LLM drew
        shape = LanguageShape(spec.llm.width, count_blocks(llm))
        mixture = Mixture(
            encoders, spec.fusion["name"], (height, width), options, spec.feature_norm, shape
        )
        return Mllm(spec, mixture, llm)


def _until(tokens: list[int], stop_ids: Sequence[int]) -> list[int]:
    ends = [tokens.index(stop) for stop in stop_ids if stop in tokens]
    return tokens[: min(ends, default=len(tokens))]
