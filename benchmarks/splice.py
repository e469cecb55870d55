"""What batched splicing is worth in a training step, against splicing each sample by itself.

    python benchmarks/splice.py [--repeats N] [--batch N]

B conversations, T text tokens, I images, L visual tokens an image, D model width. The micro scale:
CLIP at 32 pixels, a Llama of 4 layers and width 128, all of it trained, 16 visual tokens an image,
random weights; conversations of unequal lengths, some without an image; the micro vocabulary, and
one of a usual size. The baseline does what public code does: it pads sample by sample, cuts each
sample at its `<image>` and joins the pieces, and makes the logits of every position. Both give the
same loss. `speed` is that of the whole step, collate-splice-forward-backward, which is what a user
gets; `splicing` is the share of each step that goes into collating and splicing.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM

from ablate.catalog import encoders as registry
from ablate.catalog import llms
from ablate.catalog.model_spec import ModelSpec
from ablate.data.batch import IGNORE_INDEX, IMAGE_TOKEN_ID
from ablate.data.collate import collate
from ablate.data.dataset import Sample
from ablate.model.mllm import Mllm, build_model
from ablate.model.splice import splice_layout
from ablate.train.objectives.sft import Sft


def micro_model(vocabulary: int) -> Mllm:
    with tempfile.TemporaryDirectory() as folder:
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
        fusion = {"name": "channel_concat", "grid": [4, 4], "options": {}}
        encoders, llm = [registry.resolve("clip-micro")], llms.resolve(folder)
        spec = ModelSpec(encoders, fusion, "layer", llm)
        return build_model(spec, load_weights=False, seed=0).train()


def conversations(batch: int) -> list[Sample]:
    """An image (but for every eighth), a question of 20 to 80 tokens, an answer of 5 to 40."""
    draw = np.random.default_rng(0)
    samples = []
    for number in range(batch):
        question, answer = int(draw.integers(20, 80)), int(draw.integers(5, 40))
        ids = draw.integers(0, 80, question + answer)
        images = [draw.integers(0, 256, (3, 128, 128), dtype=np.uint8)] if number % 8 else []
        ids[0] = IMAGE_TOKEN_ID if images else ids[0]
        samples.append(Sample(ids, np.arange(len(ids)) >= question, images))
    return samples


def batched(model: Mllm, samples: Sequence[Sample]) -> Tensor:
    return Sft()(*model(collate(samples)))


def one_by_one(model: Mllm, samples: Sequence[Sample]) -> Tensor:
    images = [torch.from_numpy(image) for sample in samples for image in sample.images]
    visual = iter(model.projector(model.mixture(torch.stack(images))))
    embeddings, mask, labels = pieces_joined(model, samples, visual)
    loss: Tensor = model.llm(inputs_embeds=embeddings, attention_mask=mask, labels=labels).loss
    return loss


def batched_splice(model: Mllm, samples: Sequence[Sample], visual: Tensor) -> Tensor:
    batch = collate(samples)
    is_image = batch.input_ids == IMAGE_TOKEN_ID
    counts = torch.full((len(visual),), visual.shape[1])
    layout = splice_layout(is_image, batch.attention_mask, counts, pad_left=False)
    layout.labels(batch.labels)
    text = model.llm.get_input_embeddings()(batch.input_ids[layout.text])
    return layout.embeddings(text, visual.flatten(0, 1)).sum()


def one_by_one_splice(model: Mllm, samples: Sequence[Sample], visual: Tensor) -> Tensor:
    return pieces_joined(model, samples, iter(visual))[0].sum()


def pieces_joined(
    model: Mllm, samples: Sequence[Sample], visual: Iterator[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings (B,S,D), mask and labels (B,S), a sample at a time."""
    embed = model.llm.get_input_embeddings()
    rows, targets = [], []
    for sample in samples:
        ids, pieces, labels, start = torch.from_numpy(sample.ids), [], [], 0
        wanted = torch.where(torch.from_numpy(sample.learn), ids, IGNORE_INDEX)
        for stop in (ids == IMAGE_TOKEN_ID).nonzero()[:, 0].tolist():
            tokens = next(visual)
            pieces += [embed(ids[start:stop]), tokens]
            labels += [wanted[start:stop], wanted.new_full((len(tokens),), IGNORE_INDEX)]
            start = stop + 1
        rows.append(torch.cat([*pieces, embed(ids[start:])]))
        targets.append(torch.cat([*labels, wanted[start:]]))
    longest = max(len(row) for row in rows)
    embeddings = torch.stack([F.pad(row, (0, 0, 0, longest - len(row))) for row in rows])
    mask = torch.stack([torch.arange(longest) < len(row) for row in rows]).long()
    return embeddings, mask, pad_sequence(targets, batch_first=True, padding_value=IGNORE_INDEX)


def compare(ways: Sequence[Callable[[], Tensor]], repeats: int) -> list[float]:
    """Median seconds of forward and backward of each way, in turn: a busy machine slows both."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(repeats + 1):
        for way, taken in zip(ways, times, strict=True):
            start = perf_counter()
            way().backward()
            taken.append(perf_counter() - start)
    return [median(taken[1:]) for taken in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=9, help="timed runs of each (default 9)")
    parser.add_argument("--batch", type=int, default=32, help="conversations (default 32)")
    given = parser.parse_args()
    samples = conversations(given.batch)
    print(
        f"{'vocabulary':>10} {'tokens/s':>10} {'one by one':>11} {'speed':>6}   splicing of a step"
    )
    for vocabulary in 80, 32_000:
        torch.manual_seed(0)
        model = micro_model(vocabulary)
        images = sum(len(sample.images) for sample in samples)
        length = model.num_visual_tokens
        visual = torch.randn(images, length, model.spec.llm.width, requires_grad=True)
        tokens = sum(len(sample.ids) for sample in samples) + images * (length - 1)
        with torch.no_grad():
            torch.testing.assert_close(batched(model, samples), one_by_one(model, samples))
        ways = (
            partial(batched, model, samples),
            partial(one_by_one, model, samples),
            partial(batched_splice, model, samples, visual),
            partial(one_by_one_splice, model, samples, visual),
        )
        ours, theirs, splice, pieces = compare(ways, given.repeats)
        print(
            f"{vocabulary:10} {tokens / ours:10,.0f} {tokens / theirs:11,.0f} "
            f"{theirs / ours:5.2f}x   {splice / ours:.1%}, one by one {pieces / theirs:.1%}"
        )


if __name__ == "__main__":
    main()
