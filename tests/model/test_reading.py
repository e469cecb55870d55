"""Prompts read side by side are answered as each is alone, whatever they share."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from ablate.model.reading import Reading

KINDS: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "opt": {"ffn_dim": 32, "word_embed_proj_dim": 32, "pad_token_id": 0},  # learnt positions
    "mixtral": {"num_key_value_heads": 2, "num_local_experts": 4},
    "deepseek_v3": {  # its keys are wider than its values
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 4,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 16,
    },
    "falcon": {},  # what each looks at cannot be told it
}


def language_model(kind: str) -> PreTrainedModel:
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    more = {"num_hidden_layers": 3, "vocab_size": 64, "max_position_embeddings": 64}
    config = AutoConfig.for_model(kind, **shape, **more, **KINDS[kind])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    for weight in model.parameters():  # wide, so that greedy choices are clear
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.3)
    return model


def greedy(llm: PreTrainedModel, prompt: Tensor, most: int) -> list[int]:
    """The answer to (S,D), every token from all before it."""
    answer: list[int] = []
    embedded = prompt[None]
    for _ in range(most):
        token = llm(inputs_embeds=embedded, use_cache=False).logits[0, -1].argmax()
        embedded = torch.cat([embedded, llm.get_input_embeddings()(token)[None, None]], 1)
        answer.append(int(token))
    return answer


def padded(texts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(B,T,D), padded on the left with what must not be looked at, and the mask."""
    longest = max(map(len, texts))
    embedded = torch.full((len(texts), longest, texts[0].shape[1]), 9.0)
    mask = torch.zeros(len(texts), longest, dtype=torch.bool)
    for row, text in enumerate(texts):
        embedded[row, longest - len(text) :], mask[row, longest - len(text) :] = text, True
    return embedded, mask


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_each_prompt_is_answered_as_if_it_were_alone(kind: str) -> None:
    llm = language_model(kind)
    starts = [torch.randn(tokens, 32) for tokens in (7, 4, 9)]
    of, most = [0, 0, 1, 2, 0, 1, 0], [6, 5, 6, 0, 6, 2, 4]
    rests = [torch.randn(tokens, 32) for tokens in (4, 1, 2, 4, 3, 4, 2)]
    whole = [torch.cat([starts[start], rest]) for start, rest in zip(of, rests, strict=True)]
    expected = [greedy(llm, prompt, tokens) for prompt, tokens in zip(whole, most, strict=True)]
    for at_once in (True, False):
        reading = Reading(llm, whole=at_once)
        reading.read(*padded(whole))
        assert reading.lengths == list(map(len, whole))
        assert reading.answers(most, [], drop_ended=not at_once) == expected
    if kind == "falcon":
        assert not Reading.can_branch(llm)
        return
    reading = Reading(llm)
    reading.begin(*padded(starts), of, tokens=4)
    reading.read(*padded(rests))
    assert reading.lengths == list(map(len, whole))
    assert reading.answers(most, []) == expected


LLAMA = language_model("llama")


@given(
    starts=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    rests=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), min_size=1, max_size=12),
    stop=st.integers(0, 63),
    seed=st.integers(0, 99),
)
@torch.inference_mode()
def test_whatever_shares_a_beginning_and_ends_when_the_answers_are_the_same(
    starts: list[int], rests: list[tuple[int, int]], stop: int, seed: int
) -> None:
    torch.manual_seed(seed)
    of = [start % len(starts) for start, _ in rests]
    begun, texts = [torch.randn(n, 32) for n in starts], [torch.randn(n, 32) for _, n in rests]
    alone, together = Reading(LLAMA, whole=True), Reading(LLAMA)
    alone.read(*padded([torch.cat([begun[n], text]) for n, text in zip(of, texts, strict=True)]))
    together.begin(*padded(begun), of, tokens=max(map(len, texts)))
    together.read(*padded(texts))
    most = [3 + number % 3 for number in range(len(texts))]
    assert together.answers(most, [stop]) == alone.answers(most, [stop])
