"""The step `features`: what a frozen encoder or language model makes of a few hundred samples.

Shapes: N images, B of them at a time, C channels, H W grid, D width of the language model.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ablate.catalog.data_sources import parse, require
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.catalog.llms import LlmSpec
from ablate.data.chat import Chat
from ablate.data.collate import TOGETHER, image_batches
from ablate.data.dataset import Conversations, Sample
from ablate.data.tiles import Tiles
from ablate.encoders.build import build_encoder
from ablate.errors import UserError
from ablate.files import write_json
from ablate.home import Home
from ablate.model.language import load_llm, load_tokenizer
from ablate.model.mixture import feature_map
from ablate.proxies._steps import FEATURES, TEXTS

if TYPE_CHECKING:
    from ablate.worker.context import StepContext

FEWEST = 16
"""Images without which nothing can be said."""


def see(ctx: "StepContext") -> dict[str, Any]:
    """Leave the features in `ctx.work`. UserError for bad data, and for too few images."""
    llm = LlmSpec.from_json(ctx.spec["llm"])
    data = _data(ctx, llm)
    samples = _samples(data, ctx.spec["images"])
    looks = "encoder" in ctx.spec
    features = _seen(ctx, data, samples) if looks else _read(ctx, llm, data, samples)
    save_file(features, ctx.work / FEATURES)
    return {"images": len(samples)}


def _data(ctx: "StepContext", llm: LlmSpec) -> Conversations:
    source = parse(ctx.spec["data"])
    require([source])
    content = ctx.spec["data"]["fingerprint"]
    chat = Chat(load_tokenizer(llm), plain=ctx.spec["prompt"] == "plain")
    room = min(ctx.spec["max_length"], llm.context)
    with ctx.world.leader_first():
        return Conversations(
            source, content, chat, Home(ctx.home).data, max_length=room, tiles=Tiles.whole(1)
        )


def _samples(data: Conversations, images: int) -> list[int]:
    """The first so many with an image of a fixed shuffle."""
    order = np.random.default_rng(0).permutation(np.flatnonzero(data.has_image))
    if len(order) < FEWEST:
        raise UserError(f"{', '.join(data.parts)}: {len(order)} images, at least {FEWEST} needed")
    return [int(sample) for sample in order[:images]]


def _seen(ctx: "StepContext", data: Conversations, samples: Sequence[int]) -> dict[str, Tensor]:
    spec = EncoderSpec.from_json(ctx.spec["encoder"])
    encoder = build_encoder(spec, load_weights=True).eval().to(ctx.device)
    pooled: list[Tensor] = []
    grids: dict[str, list[Tensor]] = {"grid": [], "mirrored": []}
    images = (sample.images[0] for sample in _looked_at(data, samples))
    for pixels in image_batches(images):
        ctx.progress(sum(map(len, pooled)), len(samples), spec.title)
        here = pixels.to(ctx.device)
        seen = feature_map(encoder, here)
        mirrored = max(0, ctx.spec["mirrored"] - sum(map(len, pooled)))
        pooled.append(seen.mean((2, 3)).cpu())
        if mirrored:
            grids["grid"].append(_on_grid(seen[:mirrored], ctx.spec["grid"]))
            other = feature_map(encoder, here[:mirrored].flip(3))
            grids["mirrored"].append(_on_grid(other, ctx.spec["grid"]))
    places = {name: torch.cat(parts).half().contiguous() for name, parts in grids.items()}
    return {"pooled": torch.cat(pooled).float(), **places}


def _on_grid(seen: Tensor, grid: Sequence[int]) -> Tensor:
    """(B,C,h,w) -> (B,H,W,C), as means of what lies in a place, or between places."""
    finer = seen.shape[2] >= grid[0] and seen.shape[3] >= grid[1]
    height, width = grid
    if finer:
        resized = F.adaptive_avg_pool2d(seen.float(), (height, width))
    else:
        resized = F.interpolate(seen.float(), (height, width), mode="bilinear")
    return resized.permute(0, 2, 3, 1).cpu()


@torch.no_grad()
def _read(
    ctx: "StepContext", llm: LlmSpec, data: Conversations, samples: Sequence[int]
) -> dict[str, Tensor]:
    """(N,D): the mean of the last hidden states over what is learnt of each sample."""
    tokenizer = load_tokenizer(llm)
    model = load_llm(llm).eval().to(ctx.device)
    learnt = [sample.ids[sample.learn] for sample in _looked_at(data, samples)]
    rows: list[Tensor] = []
    for first in range(0, len(learnt), TOGETHER):
        ctx.progress(first, len(learnt), llm.name)
        texts = [torch.from_numpy(ids).long() for ids in learnt[first : first + TOGETHER]]
        ids = nn.utils.rnn.pad_sequence(texts, batch_first=True).to(ctx.device)
        # Padding is on the right, where causal attention does not look.
        states = model.base_model(ids, use_cache=False).last_hidden_state.float().cpu()
        rows += [state[: len(text)].mean(0) for state, text in zip(states, texts, strict=True)]
    write_json(ctx.work / TEXTS, tokenizer.batch_decode(learnt, skip_special_tokens=True))
    return {"text": torch.stack(rows)}


def _looked_at(data: Conversations, samples: Sequence[int]) -> Iterator[Sample]:
    """The samples; for one whose image cannot be read the next that can, as in training."""
    return (data.readable(number)[0] for number in samples)
