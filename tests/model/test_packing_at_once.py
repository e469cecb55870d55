"""All conversations in one kernel, which leaves out blocks of places that hold nothing.

The blocks are held to what numpy counts, and to a compiled kernel, which goes by them; the rest to
torch's plain mathematics of it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packing_toys import uncompiled  # noqa: F401
from test_mllm import IMAGE, batch_of
from test_packing import assert_packed_equals_rows, saved
from test_token_losses import TINY, gradients
from torch.nn.attention.flex_attention import BlockMask
from transformers import MistralConfig
from transformers.integrations import flex_attention as integration

from ablate.model import packing
from ablate.model.mllm import Mllm
from ablate.model.packing import APART, AT_ONCE, BLOCK, Lengths, attend_apart, attend_at_once
from ablate.train.objectives.sft import Sft

Make = Callable[..., Mllm]
CPU = torch.device("cpu")
LONG = [[IMAGE, *range(5, 39)] * 2, [4, 8], [IMAGE, 3, IMAGE, *range(5, 38)], [*range(2, 37)] * 3]
"""More than one block of tokens, of which a conversation begins and ends anywhere."""


def dense(tokens: list[int], window: int | None) -> np.ndarray:
    """(S,S) what sees what, place by place."""
    rows, places = np.repeat(np.arange(len(tokens)), tokens), np.arange(sum(tokens))
    behind = places[:, None] - places
    near = (behind >= 0) & (behind < (window or len(places)))
    return near & (rows[:, None] == rows)


def listed(count: torch.Tensor, columns: torch.Tensor) -> set[tuple[int, int]]:
    return {
        (row, int(column))
        for row in range(count.shape[-1])
        for column in columns[0, 0, row, : count[0, 0, row]]
    }


@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=6),
    st.none() | st.integers(1, 300),
)
def test_blocks_that_hold_nothing_are_left_out(tokens: list[int], window: int | None) -> None:
    mask = packing.block_mask(tokens, window, CPU)
    some, whole = set(), set()
    seen = dense(tokens, window)
    for row in range(0, len(seen), BLOCK):
        for column in range(0, len(seen), BLOCK):
            block = seen[row : row + BLOCK, column : column + BLOCK]
            where = row // BLOCK, column // BLOCK
            some |= {where} if block.any() else set()
            whole |= {where} if block.all() and row != column else set()
    assert listed(mask.kv_num_blocks, mask.kv_indices) == some - whole
    assert listed(mask.full_kv_num_blocks, mask.full_kv_indices) == whole
    for_keys = listed(mask.q_num_blocks, mask.q_indices)  # what the backward pass goes by
    assert {(row, column) for column, row in for_keys} == some - whole
    for_keys = listed(mask.full_q_num_blocks, mask.full_q_indices)
    assert {(row, column) for column, row in for_keys} == whole


def test_many_conversations_cost_their_blocks_and_not_the_square_of_all() -> None:
    mask = packing.block_mask([256] * 64, None, CPU)
    blocks = mask.kv_num_blocks.sum() + mask.full_kv_num_blocks.sum()
    assert blocks == 64 * 3
    assert mask.shape[-1] // BLOCK == 128


@pytest.mark.usefixtures("uncompiled")
def test_loss_and_gradients_are_those_of_rows_also_in_a_window_and_with_shared_heads(
    make_model: Make, llm_folder: Path, tmp_path: Path
) -> None:
    config = MistralConfig(**{**TINY, "num_attention_heads": 4}, sliding_window=9)
    model = make_model(llm=saved(config, tmp_path, llm_folder))
    assert_packed_equals_rows(model, batch_of(LONG, learn_from=2), Sft(), AT_ONCE)


@pytest.mark.usefixtures("uncompiled")
def test_so_they_are_of_rows_padded_on_the_left_whose_activations_are_recomputed(
    make_model: Make,
) -> None:
    model = make_model()
    model.checkpoint_activations()
    model.train()
    assert_packed_equals_rows(model, batch_of(LONG, left=True), Sft(), AT_ONCE)


@pytest.mark.usefixtures("uncompiled")
def test_in_half_precision_both_ways_are_alike_and_all_of_the_kernel_is_half(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    attend, given = integration.compile_friendly_flex_attention, set()

    def noted(*parts: torch.Tensor, **options: Any) -> torch.Tensor:
        given.update(part.dtype for part in parts)
        return attend(*parts, **options)

    monkeypatch.setattr(integration, "compile_friendly_flex_attention", noted)
    model, batch, results = make_model(), batch_of(LONG, learn_from=2), []
    for attention in APART, AT_ONCE:
        model.pack_conversations(attention)
        with torch.autocast("cpu", torch.bfloat16):
            loss = Sft()(*model(batch))
        results.append((loss, gradients(model, loss)))
    (loss, expected), (other, gradient) = results
    torch.testing.assert_close(other, loss, rtol=1e-2, atol=1e-2)
    for name, whole in expected.items():
        assert (gradient[name] - whole).norm() <= 0.05 * whole.norm() + 1e-4, name
    assert given == {torch.bfloat16}


@pytest.mark.usefixtures("uncompiled")
def test_layers_share_a_mask_made_once_a_batch(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[list[int]] = []

    def noted(tokens: list[int], window: int | None, device: torch.device) -> BlockMask:
        made.append(tokens)
        return build(tokens, window, device)

    build = packing.block_mask
    monkeypatch.setattr(packing, "block_mask", noted)
    model = make_model()
    model.pack_conversations(AT_ONCE)
    model.checkpoint_activations()
    model.train()
    for rows in ([[3, 4, 5], [6, 7]], [[8], [9, 10]]):
        model(batch_of(rows), by_token=True).losses.sum().backward()
    assert made == [[3, 2], [1, 2]]


@pytest.mark.slow
@pytest.mark.compiler
@torch.no_grad()
def test_the_compiled_kernel_goes_by_these_blocks() -> None:
    """Forward alone: torch compiles no backward pass of it for a CPU."""
    module, lengths = torch.nn.Module(), Lengths([130, 3, 500, 77])
    module.num_key_value_groups = 2
    parts = [torch.randn(1, heads, 710, 16) for heads in (4, 2, 2)]

    def both(window: int | None) -> list[torch.Tensor]:
        return [
            attend(module, *parts, None, lengths=lengths, sliding_window=window)[0]
            for attend in (attend_apart, attend_at_once)
        ]

    for window in None, 50:
        expected, made = both(window)
        torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
    lengths.block_mask(None, CPU).full_kv_num_blocks.zero_()
    expected, made = both(None)
    assert (made - expected).abs().max() > 0.1


@pytest.mark.gpu
@pytest.mark.parametrize("half", [False, True])
def test_on_a_gpu_outputs_and_gradients_are_those_of_each_apart(half: bool) -> None:
    module, device = torch.nn.Module(), torch.device("cuda")
    module.num_key_value_groups = 2
    dtype, near = (torch.bfloat16, 2e-2) if half else (torch.float32, 1e-4)
    for tokens, window in ([5], None), ([130, 3, 300, 77], None), ([300, 400, 9], 50):
        parts = [
            torch.randn(1, heads, sum(tokens), 64, device=device, dtype=dtype, requires_grad=True)
            for heads in (4, 2, 2)
        ]
        results = []
        for attend in attend_apart, attend_at_once:
            made, _ = attend(module, *parts, None, lengths=Lengths(tokens), sliding_window=window)
            results.append((made, *torch.autograd.grad(made.float().square().sum(), parts)))
        for expected, other in zip(*results, strict=True):
            assert (other - expected).norm() <= near * expected.norm()
