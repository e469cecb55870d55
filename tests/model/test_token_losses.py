"""Each token's loss in chunks is the plain one, at a fraction of its memory."""

from collections.abc import Callable

import pytest
import torch
from test_mllm import IMAGE, batch_of
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
)

from ablate.data.batch import IGNORE_INDEX
from ablate.model import mllm, token_losses
from ablate.model.mllm import Mllm
from ablate.train.objectives import Objective
from ablate.train.objectives.dpo import Dpo
from ablate.train.objectives.length_weighted import LengthWeighted
from ablate.train.objectives.sft import Sft

Make = Callable[..., Mllm]
Few = Callable[[int], None]
ROWS = [[3, IMAGE, 5, 6, 9], [4, 8], [IMAGE, 3, IMAGE, 11, 12, 13, 14], [5, 6, 7]]
TINY = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Few:
    """Lets so many logits be in memory at once, instead of as many as no toy has."""

    def few(logits: int) -> None:
        for module in (mllm, token_losses):
            monkeypatch.setattr(module, "LOGITS_AT_ONCE", logits)

    return few


def gradients(model: Mllm, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    "objective", [Sft(), LengthWeighted(), Dpo()], ids=lambda o: type(o).__name__
)
def test_loss_and_gradients_in_chunks_are_those_of_whole_logits(
    make_model: Make, at_once: Few, objective: Objective
) -> None:
    model, batch = make_model(), batch_of(ROWS, learn_from=2)
    other = make_model(seed=1)
    before = [other(batch)] if objective.of_pairs else []
    whole = objective(*model(batch), *(p.logits.detach() for p in before))
    expected = gradients(model, whole)
    at_once(2 * 40)  # two tokens at a time
    model.recomputes_logits = other.recomputes_logits = True
    references = [other(batch, by_token=True).losses.detach()] if objective.of_pairs else []
    chunked = objective.mean(*model(batch, by_token=True), *references)
    torch.testing.assert_close(chunked, whole, rtol=1e-6, atol=1e-6)
    found = gradients(model, chunked)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)


def test_one_chunk_is_enough_for_a_small_model(make_model: Make) -> None:
    model, batch = make_model(), batch_of(ROWS, learn_from=2)
    prediction, by_token = model(batch), model(batch, by_token=True)
    assert torch.equal(by_token.targets, prediction.targets)
    nothing = prediction.targets == IGNORE_INDEX
    assert nothing.any()
    assert not by_token.losses[nothing].any()
    torch.testing.assert_close(Sft().mean(*by_token), Sft()(*prediction))


def test_logits_are_made_whole_unless_they_are_to_be_recomputed(
    make_model: Make, at_once: Few, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    at_once(80)
    monkeypatch.setattr(mllm, "chunked_losses", never)
    model = make_model()
    assert model(batch_of(ROWS), by_token=True).losses.sum() > 0
    model.recomputes_logits = True
    with pytest.raises(AssertionError):
        model(batch_of(ROWS), by_token=True)


def test_chunks_keep_no_logits_for_the_backward_pass(at_once: Few) -> None:
    tokens, width, vocabulary = 64, 8, 500
    head = torch.nn.Linear(width, vocabulary, bias=False)
    hidden = torch.randn(tokens, width, requires_grad=True)
    targets = torch.randint(vocabulary, (tokens,))
    at_once(8 * vocabulary)

    def kept(losses: Callable[[], torch.Tensor]) -> int:
        """Numbers kept for the backward pass."""
        storages: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            losses()
        return sum(storages.values())

    assert kept(lambda: token_losses.token_losses(head(hidden), targets)) > tokens * vocabulary
    chunked = kept(lambda: token_losses.chunked_losses(head, hidden, targets, vocabulary))
    assert chunked < tokens * vocabulary / 4


@pytest.mark.parametrize(
    ("config", "plain"),
    [
        (LlamaConfig(**TINY), True),
        (Qwen2Config(**TINY, tie_word_embeddings=True), True),
        (MistralConfig(**TINY), True),
        (Gemma2Config(**TINY, final_logit_softcapping=30.0), False),
        (GraniteConfig(**TINY, logits_scaling=8.0), False),
    ],
    ids=lambda given: getattr(given, "model_type", ""),
)
def test_a_model_that_changes_its_logits_makes_them_whole(
    config: PreTrainedConfig, plain: bool
) -> None:
    llm = AutoModelForCausalLM.from_config(config)
    assert token_losses.has_plain_head(llm) is plain
