from collections.abc import Sequence

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ablate.data.batch import IGNORE_INDEX
from ablate.model.splice import splice_layout

WIDTH, PAD, TEXT, IMAGE = 3, "pad", "text", "image"


@st.composite
def batches(draw: st.DrawFn) -> list[list[str]]:
    """Rows of text and images, some of neither many nor few, padded to one length on one side."""
    row = st.lists(st.sampled_from([TEXT, IMAGE]), min_size=1)
    rows = draw(st.lists(row, min_size=1, max_size=4))
    left = draw(st.booleans())
    longest = max(map(len, rows))
    padding = [[PAD] * (longest - len(row)) for row in rows]
    return [p + r if left else r + p for r, p in zip(rows, padding, strict=True)]


def one_by_one(
    rows: list[list[str]], text: Tensor, visual: Sequence[Tensor], labels: Tensor, left: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The plain reference: every sample by itself, then padding."""
    pieces, targets = [], []
    texts, images = iter(text), iter(visual)
    for row, row_labels in zip(rows, labels, strict=True):
        tokens, wanted = [], []
        for kind, label in zip(row, row_labels, strict=True):
            if kind == TEXT:
                tokens.append(next(texts)[None])
                wanted.append(label[None])
            elif kind == IMAGE:
                tokens.append(next(images))
                wanted.append(label.new_full((len(tokens[-1]),), IGNORE_INDEX))
        pieces.append(torch.cat(tokens))
        targets.append(torch.cat(wanted))
    longest = max(map(len, pieces))
    spliced = torch.zeros(len(rows), longest, WIDTH)
    answer = torch.full((len(rows), longest), IGNORE_INDEX)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, piece in enumerate(pieces):
        where = slice(longest - len(piece), None) if left else slice(0, len(piece))
        spliced[i, where], answer[i, where], mask[i, where] = piece, targets[i], True
    return spliced, answer, mask


@given(batches(), st.data(), st.booleans())
def test_a_spliced_batch_equals_samples_spliced_one_by_one(
    rows: list[list[str]], data: st.DataObject, left: bool
) -> None:
    mask = torch.tensor([[kind != PAD for kind in row] for row in rows])
    is_image = torch.tensor([[kind == IMAGE for kind in row] for row in rows])
    text = torch.randn(int((mask & ~is_image).sum()), WIDTH)
    images = int(is_image.sum())
    counts = data.draw(st.lists(st.integers(0, 5), min_size=images, max_size=images))
    visual = [torch.randn(count, WIDTH) for count in counts]
    labels = torch.randint(0, 9, mask.shape)

    layout = splice_layout(is_image, mask, torch.tensor(counts, dtype=torch.int64), pad_left=left)

    spliced, targets, real = one_by_one(rows, text, visual, labels, left)
    assert torch.equal(
        layout.embeddings(text, torch.cat([torch.zeros(0, WIDTH), *visual])), spliced
    )
    assert torch.equal(layout.labels(labels), targets)
    assert torch.equal(layout.mask, real)


def test_gradients_reach_text_and_visual_tokens_through_the_splice() -> None:
    is_image = torch.tensor([[False, True, False]])
    layout = splice_layout(is_image, torch.ones_like(is_image), torch.tensor([2]), pad_left=False)
    text = torch.randn(2, WIDTH, requires_grad=True)
    visual = torch.randn(2, WIDTH, requires_grad=True)
    weights = torch.randn(1, 4, WIDTH)
    (layout.embeddings(text, visual) * weights).sum().backward()
    assert text.grad is not None
    assert visual.grad is not None
    assert torch.equal(text.grad, weights[0, [0, 3]])
    assert torch.equal(visual.grad, weights[0, 1:3])
