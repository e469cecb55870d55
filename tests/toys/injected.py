"""Batches of made-up conversations with images, and what a model loses on them."""

import torch

from ablate.data.batch import IGNORE_INDEX, IMAGE_TOKEN_ID, Batch
from ablate.model.mllm import Mllm
from ablate.train.objectives.sft import Sft

IMAGE = IMAGE_TOKEN_ID
ROWS = [[3, IMAGE, 5, 6, 9], [4, 8], [IMAGE, 3, IMAGE, 11, 12, 13, 14]]


def loss_of(model: Mllm, batch: Batch) -> torch.Tensor:
    return Sft()(*model(batch))


def batch_of(rows: list[list[int]], *, left: bool = False, answers: int = 0) -> Batch:
    """Rows of token ids, an image at every IMAGE; the last `answers` tokens of each are learnt."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), 7)
    mask, learn = torch.zeros(2, len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        start = longest - len(row) if left else 0
        end = start + len(row)
        ids[i, start:end], mask[i, start:end] = torch.tensor(row), True
        learn[i, end - answers : end] = True
    owners = [i for i, row in enumerate(rows) for token in row if token == IMAGE]
    pixels = torch.randint(0, 256, (len(owners), 3, 64, 64), generator=torch.manual_seed(0))
    return Batch(
        pixels=pixels.to(torch.uint8) if owners else torch.zeros(0, 3, 1, 1, dtype=torch.uint8),
        image_rows=torch.tensor(owners, dtype=torch.long),
        input_ids=ids,
        labels=torch.where(learn, ids, IGNORE_INDEX),
        attention_mask=mask,
    )
