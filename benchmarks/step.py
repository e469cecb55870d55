"""What `infra` and the loss save of a training step, beside the same step without.

    python benchmarks/step.py [--steps N] [--images N] [--batch N] [--tokens N]

The micro base candidate on drawn conversations, as in `fit.py`, on one core; the median step, which
leaves out what compilation takes. `packed` is `infra.packing`, `compiled` `infra.compile`. `tokens
computed` are those of micro-batches of `batch`, padded and packed. `the loss` is that of so many
tokens of a model of width 512 over the vocabulary, forward and backward, and the megabytes it keeps
for the backward pass. `--compiled 0` leaves out what takes a minute to compile.
"""

from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import fit
import numpy as np
import peer
import torch
from rows import Row, run
from torch import Tensor, nn

from ablate.data.collate import MicroBatches
from ablate.model.token_losses import chunked_losses, token_losses
from ablate.train import stage

WIDTH = 512


def rows(
    steps: int = 40,
    images: int = 480,
    batch: int = 12,
    tokens: int = 2048,
    vocabulary: int = 32_000,
    compiled: int = 1,
) -> list[Row]:
    torch.set_num_threads(1)
    with peer.scratch() as scratch:
        home = Path(scratch)
        source, _ = peer.drawn(home, images)
        padding = computed(source, home, steps, batch)
        ways = {"plain": {}, "packed": {"packing": True}, "compiled": {"compile": True}}
        took = {
            name: step_of(fit.context(source, home, steps, batch, name, infra))
            for name, infra in ways.items()
            if compiled or name != "compiled"
        }
    chunked, whole = loss(tokens, vocabulary)
    return [
        Row("packed, tokens computed", padding[1], "a sample", "padded", padding[0]),
        Row("packed, a step", took["packed"], "CPU ms", "padded", took["plain"]),
        *(
            Row("compiled, a step", took[name], "CPU ms", "eager", took["plain"])
            for name in took.keys() & {"compiled"}
        ),
        Row("the loss in chunks", chunked[0], "CPU ms", "all logits at once", whole[0]),
        Row("the loss in chunks, kept", chunked[1], "MB", "all logits at once", whole[1]),
    ]


def step_of(context: fit.Context) -> float:
    """CPU milliseconds of a stage's median step."""
    ends = []
    context.log = lambda metrics: ends.append(process_time())  # type: ignore[method-assign]
    stage.train(context)  # type: ignore[arg-type]
    return 1e3 * float(np.median(np.diff(ends)))


def computed(source: dict[str, Any], home: Path, steps: int, batch: int) -> tuple[float, float]:
    """Tokens for the language model a sample, with padding and without."""
    seen: list[MicroBatches] = []
    plain = stage._batches

    def noted(*args: Any) -> MicroBatches:
        seen.append(plain(*args))
        return seen[-1]

    stage._batches = noted
    try:
        stage.train(fit.context(source, home, 1, batch, "tokens"))
    finally:
        stage._batches = plain
    [batches] = seen
    lengths = [batches.data.lengths[batches.order.batch(step)] for step in range(steps)]
    longest = [int(length.max()) for length in lengths]
    return float(np.mean(longest)), float(np.concatenate(lengths).mean())


def loss(tokens: int, vocabulary: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """CPU milliseconds and kept megabytes in chunks and at once."""
    head = nn.Linear(WIDTH, vocabulary, bias=False)
    hidden = torch.randn(tokens, WIDTH, requires_grad=True)
    targets = torch.randint(vocabulary, (tokens,))
    return (
        measured(lambda: chunked_losses(head, hidden, targets, vocabulary)),
        measured(lambda: token_losses(head(hidden), targets)),
    )


def measured(losses: Callable[[], Tensor]) -> tuple[float, float]:
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses()
    began = process_time()
    losses().mean().backward()
    return 1e3 * (process_time() - began), sum(kept.values()) / 1e6


if __name__ == "__main__":
    run(rows, __doc__)
