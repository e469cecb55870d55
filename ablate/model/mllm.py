"""The multimodal model: what the encoders see, projected, spliced into what the LLM reads.

Shapes: B conversations, T text tokens, I images, L visual tokens of all of them, D model width, S
the longest spliced sequence, R rows that the LLM reads, one a conversation or one of them all, K
places of it that some conversation learns from, V vocabulary, or views of all images where a tiling
cuts these.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ablate.catalog.axes import TILING
from ablate.catalog.model_spec import ModelSpec
from ablate.cost.memory import EVERYTHING, LOGITS_AT_ONCE, Recomputed
from ablate.data.batch import IGNORE_INDEX, IMAGE_TOKEN_ID, Batch
from ablate.data.tiles import Cut, Tiles
from ablate.decoder import build_injection, count_blocks, reads_by_attention
from ablate.encoders.build import build_encoder
from ablate.encoders.tensors import seeded
from ablate.errors import UserError
from ablate.model.connected import build_connector, build_tiling, too_long
from ablate.model.injection import FusionInjection, Injector, seen_images
from ablate.model.instruction import instructions, repeated
from ablate.model.language import load_llm
from ablate.model.mixture import Mixture
from ablate.model.packing import APART, Lengths
from ablate.model.reading import Reading
from ablate.model.routing import by_view, coin, name_experts, require_whole_experts
from ablate.model.splice import SpliceLayout, splice_layout
from ablate.model.token_losses import (
    Prediction,
    TokenLosses,
    chunked_losses,
    has_plain_head,
    token_losses,
)
from fusion_zoo import Instruction, LanguageShape
from fusion_zoo.tilings import assemble


class Beginnings(NamedTuple):
    """What prompts begin with: a batch, its images as `Mllm.generate` has them, and of each prompt
    the row here."""

    batch: Batch
    visual: Sequence[Tensor] | None
    of: Sequence[int]


class Mllm(nn.Module):
    """A mixture of encoders, a connector and a language model, built by `build_model`.

    `in_lockstep` (default False): all parts work in every forward pass, also in one without images,
    as they must where several processes share their weights and each waits for the others.
    `recomputes_logits` (default False): they are never all in memory, where losses are `by_token`.
    """

    in_lockstep: bool = False
    recomputes_logits: bool = False

    def __init__(self, spec: ModelSpec, mixture: Mixture, llm: PreTrainedModel) -> None:
        super().__init__()
        self.spec = spec
        self.mixture = mixture
        self.projector = build_connector(spec, mixture.fusion)
        tiling, tokens, grid = build_tiling(spec), self.projector.num_tokens, self.projector.grid
        self.injection = build_injection(
            spec.injection,
            llm,
            spec.llm.name,
            tiling.most_tokens(tokens, grid),
            cut=spec.tiling != TILING.default,
        )
        self.tiles = Tiles(tiling, tokens, grid, self.injection.runs)
        self.llm = llm
        self._packed = False
        self._injector = Injector(self.injection, llm)
        self._fusions = Injector(FusionInjection(mixture.fusion, llm, spec.llm.name), llm)
        if self.names_experts:
            require_whole_experts(mixture, spec.injection["name"])
        if self.num_visual_tokens >= spec.llm.context:
            raise too_long(spec, self.tiles, self.num_visual_tokens)

    @property
    def parts(self) -> dict[str, nn.Module]:
        """What a recipe may train: `PARTS`, of which "encoders" is a ModuleList."""
        injection = {"injection": self.injection} if self.injection.num_parameters else {}
        return {
            "encoders": self.mixture.encoders,
            "fusion": self.mixture.fusion,
            "projector": self.projector,
            **injection,
            "llm": self.llm,
        }

    @property
    def num_visual_tokens(self) -> int:
        """Tokens of the context an image becomes, where they depend on its size at most."""
        return self.tiles.most

    @property
    def sees_each_question(self) -> bool:
        """Whether what an image becomes is not there once for all questions about it."""
        return self._asks_instruction or bool(self.mixture.fusion.injects)

    @property
    def names_experts(self) -> bool:
        """Whether the language model is asked which experts are to look at an image."""
        return self.mixture.fusion.names_experts and len(self.mixture.encoders) > 1

    @property
    def is_injected(self) -> bool:
        """Whether anything changes what the language model computes at its blocks."""
        return self._injector.acts or bool(self.mixture.fusion.injects)

    @property
    def _asks_instruction(self) -> bool:
        return self.mixture.fusion.asks_instruction or self.projector.asks_instruction

    def checkpoint_activations(self, recompute: Recomputed = EVERYTHING) -> None:
        """Let blocks of these parts compute their activations again in the backward pass, and no
        others."""
        for encoder in self.mixture.all_encoders:
            encoder.gradient_checkpointing = "encoders" in recompute
        if "llm" in recompute:
            self.llm.activation_checkpointing_enable(every_n_layers=recompute["llm"])
            # It has embeddings ask for gradients, which re-entrant recomputing needs, not ours: a
            # loss on which nothing that learns depends would pass for one that has gradients.
            self.llm.disable_input_require_grads()
        elif self.llm.is_activation_checkpointing:
            self.llm.activation_checkpointing_disable()

    def pack_conversations(self, attention: str = APART) -> None:
        """Read the conversations of a batch end to end, without padding, for training alone.

        `attention`: a way of `ablate.model.packing`, by its name. Predictions stay those of each
        conversation alone. UserError where the language model, what is injected into it, or who
        names experts must have a row for each.
        """
        if self.is_injected or self.names_experts:
            what = "injection" if self._injector.acts else "fusion"
            name = getattr(self.spec, what)["name"]
            raise UserError(f"infra.packing: {what} '{name}' takes conversations row by row")
        if not reads_by_attention(self.llm):
            raise UserError(
                f"infra.packing: {self.spec.llm.name} ({type(self.llm).__name__}) learns of tokens "
                "before one not by attention alone"
            )
        self.llm.set_attn_implementation(attention)
        self._packed = True

    def forward(
        self, batch: Batch, chosen: Tensor | None = None, *, by_token: bool = False
    ) -> Prediction | TokenLosses:
        """What it predicts of `batch`, or `by_token` the loss of each token alone.

        `chosen`: (I,E) bool, the experts that each image is seen with, of a model that
        `names_experts`; default: all, or while the fusion learns each by a coin. UserError if a
        sequence is longer than the LLM's context.
        """
        if chosen is None and self.names_experts and self.mixture.fusion.training:
            experts = len(self.mixture.encoders) - 1
            chosen = coin(len(batch.image_rows), experts, batch.image_rows.device)
        embeddings, layout = self._splice(batch, chosen=chosen, pad_left=False, packed=self._packed)
        targets = layout.targets(batch.labels)
        # Logits only at positions that some row learns from; most, the image's above all, do not.
        places = (targets != IGNORE_INDEX).any(0).nonzero()[:, 0]
        targets = targets[:, places]
        # Padding is on the right, where causal attention does not look: no mask, the fast kernel.
        read = {"inputs_embeds": embeddings, "use_cache": False}
        if self._packed:
            read["lengths"] = Lengths(layout.lengths.tolist())
            read["position_ids"] = layout.positions()
        predicted = self._predicted(read, places, targets, by_token)
        if self._packed:
            predicted = layout.apart(predicted, places, 0.0)
            targets = layout.apart(targets, places, IGNORE_INDEX)
        return TokenLosses(predicted, targets) if by_token else Prediction(predicted, targets)

    def _predicted(
        self, read: Mapping[str, Any], places: Tensor, targets: Tensor, by_token: bool
    ) -> Tensor:
        """What the LLM makes of what it is given: (R,K,V) logits at K places of each of R rows, or
        `by_token` the losses of its targets (R,K) there."""
        vocabulary = self.llm.config.get_text_config(decoder=True).vocab_size
        many = targets.numel() * vocabulary > LOGITS_AT_ONCE
        if by_token and self.recomputes_logits and many and self._has_plain_head:
            learnt = targets != IGNORE_INDEX
            hidden = self.llm.base_model(**read)[0][:, places][learnt]
            head = self.llm.get_output_embeddings()
            losses = chunked_losses(head, hidden, targets[learnt], vocabulary)
            return losses.new_zeros(targets.shape).masked_scatter(learnt, losses)
        logits: Tensor = self.llm(**read, logits_to_keep=places).logits
        return token_losses(logits, targets) if by_token else logits

    @cached_property
    def _has_plain_head(self) -> bool:
        return has_plain_head(self.llm)

    @property
    def reads_beginnings_once(self) -> bool:
        """Whether prompts are taken in two: what several begin with, and what is after it."""
        return not (self.sees_each_question or self._injector.acts) and Reading.can_branch(self.llm)

    @torch.no_grad()
    def generate(
        self,
        batch: Batch,
        max_new_tokens: int | Sequence[int],
        stop_ids: Sequence[int],
        visual: Sequence[Tensor] | None = None,
        after: Beginnings | None = None,
        chosen: Tensor | None = None,
    ) -> list[list[int]]:
        """The greedy answer to each prompt, up to and without the first of `stop_ids`.

        max_new_tokens: of all answers or of each. `visual`: what `see` makes of the batch's images,
        whose pixels are not looked at then; default: they are seen here, as they must be where the
        model `sees_each_question`. `after`: what the prompts begin with, of which the batch has the
        rest then; only where the model `reads_beginnings_once`. `chosen`: who was named, of a batch
        from `name_experts`; default: they are named here, if they are. UserError if a prompt and
        its answer may not fit the LLM's context.
        """
        if visual is not None and self.sees_each_question:
            raise ValueError("what an image becomes differs by question: no `visual` can be given")
        if chosen is None and self.names_experts and len(batch.image_rows):
            batch, chosen = name_experts(self, batch)
        reading = Reading(self.llm, whole=self.is_injected)
        if after is not None:
            if not self.reads_beginnings_once:
                raise ValueError("prompts are read whole by this model: it can begin with none")
            begun, layout = self._splice(after.batch, after.visual, pad_left=True)
            reading.begin(begun, layout.mask, after.of, batch.input_ids.shape[1])
        embedded, layout = self._splice(batch, visual, chosen, pad_left=True)
        reading.read(embedded, layout.mask)
        if isinstance(max_new_tokens, int):
            max_new_tokens = [max_new_tokens] * len(embedded)
        longest = max(map(sum, zip(reading.lengths, max_new_tokens, strict=True)))
        if longest > self.spec.llm.context:
            raise too_long(self.spec, self.tiles, longest)
        # What is injected is of the batch as it was read.
        answers = reading.answers(max_new_tokens, stop_ids, drop_ended=not self.is_injected)
        self._injector.seen = self._fusions.seen = None
        return answers

    @torch.no_grad()
    def embeddings(self, batch: Batch, visual: Sequence[Tensor] | None = None) -> list[Tensor]:
        """(S,D) what the LLM reads of each prompt, for one that answers elsewhere.

        `visual`: as `generate` has it. Only where nothing is injected and no experts are named.
        """
        embedded, layout = self._splice(batch, visual, pad_left=False)
        return [row[: int(length)] for row, length in zip(embedded, layout.lengths, strict=True)]

    def _splice(
        self,
        batch: Batch,
        visual: Sequence[Tensor] | None = None,
        chosen: Tensor | None = None,
        *,
        pad_left: bool,
        packed: bool = False,
    ) -> tuple[Tensor, SpliceLayout]:
        """(B,S,D) what the LLM reads, or `packed` (1,S,D), and where everything is in it."""
        is_image = (batch.input_ids == IMAGE_TOKEN_ID) & batch.attention_mask
        images = torch.bincount(batch.image_rows, minlength=len(is_image))
        if not torch.equal(images, is_image.sum(1)):
            raise ValueError("the batch's images do not match its <image> tokens, row by row")
        counts = self._counts(batch, visual)
        layout = splice_layout(
            is_image, batch.attention_mask, counts, pad_left=pad_left, packed=packed
        )
        longest = int(layout.lengths.max()) if packed else layout.mask.shape[1]
        if longest > self.spec.llm.context:
            raise too_long(self.spec, self.tiles, longest)
        text = self.llm.get_input_embeddings()(batch.input_ids[layout.text])
        seen = torch.cat([*visual]) if visual else self._look(batch, layout, text, chosen)
        each = (
            [*map(len, visual)] if visual else self.tiles.visual(len(batch.image_rows), batch.sizes)
        )
        return layout.embeddings(text, self._in_context(seen, each, batch, layout)), layout

    def _in_context(
        self, seen: Tensor, each: list[int], batch: Batch, layout: SpliceLayout
    ) -> Tensor:
        """Of all visual tokens (L,D), so many of each image, those that stand in the context.

        What the injection sees of them is held for the LLM's blocks.
        """
        if not self._injector.acts:
            return seen[: sum(each)]
        *shown, beside = torch.split(seen, [*each, len(seen) - sum(each)])  # beside: of no image
        first = [self.tiles.in_context(tokens) for tokens in each]
        media = [image[tokens:] for image, tokens in zip(shown, first, strict=True)]
        media += [beside] if len(beside) else []
        self._injector.seen = seen_images(media, batch.image_rows, layout, batch.labels)
        none = seen[:0]
        return torch.cat([none, *(image[:n] for image, n in zip(shown, first, strict=True))])

    def _counts(self, batch: Batch, visual: Sequence[Tensor] | None) -> Tensor:
        """(I,) how many tokens of the context each image of the batch becomes."""
        if visual is None:
            counts = self.tiles.lengths(len(batch.image_rows), batch.sizes)
        else:
            tokens = [self.tiles.in_context(len(image)) for image in visual]
            counts = torch.tensor(tokens, dtype=torch.int64)
        return counts.to(batch.image_rows.device, non_blocking=True)

    def see(self, pixels: Tensor, sizes: Tensor | None = None) -> list[Tensor]:
        """The visual tokens (L,D) of each of some images: (I,3,H,W) uint8, or where a tiling cuts
        them their views and `sizes`, as in a `Batch`.

        Not for a model that `sees_each_question`.
        """
        seen, _ = self._seen(pixels, self.cut(sizes))
        each = self.tiles.visual(len(pixels if sizes is None else sizes), sizes)
        return [*torch.split(seen[: sum(each)], each)]

    def visual(self, batch: Batch, context: Instruction, chosen: Tensor) -> Tensor:
        """(L,D) the visual tokens of the batch's images, seen with these experts (I,E)."""
        visual, _ = self._seen(batch.pixels, self.cut(batch.sizes), context, chosen)
        return visual

    def cut(self, sizes: Tensor | None) -> Cut | None:
        """How images are cut; None where they are seen whole."""
        return self.tiles.cut(sizes) if self.tiles.cuts else None

    def _look(
        self, batch: Batch, layout: SpliceLayout, text: Tensor, chosen: Tensor | None
    ) -> Tensor:
        """(L,D) of the batch's images; media of the fusion are held for the LLM's blocks.

        Of no images in lockstep there are those of one that is none of the batch.
        """
        context, cut = None, self.cut(batch.sizes)
        if self._asks_instruction:
            embedded = text.new_zeros(*layout.text.shape, text.shape[-1])
            context = instructions(batch, embedded.masked_scatter(layout.text[..., None], text))
        visual, media = self._seen(batch.pixels, cut, context, chosen)
        if self.mixture.fusion.injects:
            self._fusions.seen = None
            if media is not None:
                views = cut.views if cut and cut.views else [1] * len(media)
                of_images = [image.flatten(0, 1) for image in torch.split(media, views)]
                self._fusions.seen = seen_images(of_images, batch.image_rows, layout, batch.labels)
        return visual

    def _seen(
        self,
        pixels: Tensor,
        cut: Cut | None,
        context: Instruction | None = None,
        chosen: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """(L,D) visual tokens of all images, end to end, and the fusion's media (I,M,C), of views
        (V,M,C), if it has any.

        Of no images in lockstep there are those of one that is none of the batch.
        """
        images, width, fusion = len(pixels), self.spec.llm.width, self.mixture.fusion
        if images == 0:
            if not self.in_lockstep:
                return torch.zeros(0, width, device=pixels.device), None
            cut, chosen = self.cut(torch.ones(1, 2, dtype=torch.int64)), None
            channels = self.mixture.num_channels
            pixels = pixels.new_zeros(sum(cut.views) if cut else 1, channels, *pixels.shape[2:])
            if context:
                tokens, mask = context
                context = Instruction(tokens.new_zeros(1, 1, width), mask.new_zeros(1, 1))
        if cut:
            chosen = None if chosen is None else by_view(chosen, cut.views)
        made = self.mixture(pixels, repeated(context, cut.views) if cut else context, chosen)
        media = made.pop() if fusion.media else None
        if not made:  # all that it makes is injected
            return torch.zeros(0, width, device=pixels.device), media
        if cut is None:
            visual = self.projector(made, context).flatten(0, 1)
        else:
            units = self.tiles.tiling.units(made, fusion.grids)
            tokens = self.projector(units, repeated(context, cut.units))
            marks = getattr(self.projector, "marks", None)
            visual = assemble(tokens, marks, cut.units, cut.orders)
        return visual, media


def build_model(spec: ModelSpec, *, load_weights: bool = True, seed: int) -> Mllm:
    """The model of `spec`; encoders and LLM with their weights, or random ones.

    `seed` decides the start of fusion and connector, and of a random LLM.
    """
    encoders = [build_encoder(encoder, load_weights=load_weights) for encoder in spec.encoders]
    height, width = spec.fusion["grid"]
    options = spec.fusion["options"]
    with seeded(seed):
        llm = load_llm(spec.llm, load_weights=load_weights)
    with seeded(seed):  # whatever loading the LLM drew
        shape = LanguageShape(spec.llm.width, count_blocks(llm))
        mixture = Mixture(
            encoders, spec.fusion["name"], (height, width), options, spec.feature_norm, shape
        )
        return Mllm(spec, mixture, llm)
