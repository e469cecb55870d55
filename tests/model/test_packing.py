"""Conversations that lie end to end are learnt from as if each were alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_mllm import IMAGE, batch_of
from test_tiling import SIZES
from test_tiling import batch_of as batch_of_views
from test_token_losses import TINY, gradients
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from ablate.data.batch import Batch
from ablate.decoder import reads_by_attention
from ablate.errors import UserError
from ablate.model import mllm, token_losses
from ablate.model.mllm import Mllm
from ablate.model.packing import APART
from ablate.train.objectives import Objective
from ablate.train.objectives.length_weighted import LengthWeighted
from ablate.train.objectives.sft import Sft

Make = Callable[..., Mllm]
ROWS = [[3, IMAGE, 5, 6, 9], [4, 8], [IMAGE, 3, IMAGE, 11, 12, 13, 14], [5, 6, 7]]


def assert_packed_equals_rows(
    model: Mllm, batch: Batch, objective: Objective, attention: str = APART
) -> None:
    """Losses to 1e-5 and gradients, as logits and by token."""
    whole = objective(*model(batch))
    expected = gradients(model, whole)
    model.pack_conversations(attention)
    torch.testing.assert_close(objective(*model(batch)), whole, rtol=1e-5, atol=1e-5)
    packed = objective.mean(*model(batch, by_token=True))
    torch.testing.assert_close(packed, whole, rtol=1e-5, atol=1e-5)
    found = gradients(model, packed)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5)


def saved(config: PreTrainedConfig, folder: Path, llm_folder: Path) -> Path:
    """A random language model in a folder, with the tiny one's tokenizer."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for path in llm_folder.glob("*token*"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("objective", [Sft(), LengthWeighted()], ids=lambda o: type(o).__name__)
def test_loss_and_gradients_are_those_of_rows(make_model: Make, objective: Objective) -> None:
    assert_packed_equals_rows(make_model(), batch_of(ROWS, learn_from=2), objective)


@pytest.mark.parametrize(
    "config",
    [
        MistralConfig(**TINY, sliding_window=3),
        Qwen2Config(**TINY),
        Qwen3Config(**TINY),
    ],
    ids=lambda config: config.model_type,
)
def test_whatever_the_language_model(
    make_model: Make, llm_folder: Path, tmp_path: Path, config: PreTrainedConfig
) -> None:
    model = make_model(llm=saved(config, tmp_path, llm_folder))
    assert_packed_equals_rows(model, batch_of(ROWS, learn_from=2), Sft())


def test_images_in_tiles_of_several_numbers_of_tokens_are_packed(make_model: Make) -> None:
    model = make_model("clip-micro@32", tiling={"name": "internvl", "max_tiles": 4})
    batch = batch_of_views(model, ROWS[:3], SIZES)
    assert_packed_equals_rows(model, batch, Sft())


def test_no_token_attends_to_another_conversation(make_model: Make) -> None:
    model, batch = make_model(), batch_of(ROWS, learn_from=1)
    model.pack_conversations()
    before = model(batch, by_token=True).losses
    for row in range(len(ROWS)):
        ids = batch.input_ids.clone()
        others = (ids[row] != IMAGE) & batch.attention_mask[row]
        ids[row, others] = (ids[row, others] + 9) % 40
        pixels = batch.pixels.clone()
        pixels[batch.image_rows == row] = 255 - pixels[batch.image_rows == row]
        labels = torch.where(batch.labels >= 0, ids, batch.labels)
        changed = replace(batch, input_ids=ids, labels=labels, pixels=pixels)
        after = model(changed, by_token=True).losses
        same = torch.arange(len(ROWS)) != row
        torch.testing.assert_close(after[same], before[same], rtol=0, atol=0)
        assert not torch.equal(after[row], before[row])


def test_one_conversation_alone_and_losses_in_chunks(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_packed_equals_rows(make_model(), batch_of(ROWS[:1], learn_from=2), Sft())
    for module in (mllm, token_losses):
        monkeypatch.setattr(module, "LOGITS_AT_ONCE", 80)
    model = make_model()
    model.recomputes_logits = True
    assert_packed_equals_rows(model, batch_of(ROWS, learn_from=2), Sft())


def test_a_conversation_may_be_as_long_as_the_context_and_all_together_longer(
    make_model: Make,
) -> None:
    model = make_model()
    model.pack_conversations()
    long = [5] * (model.spec.llm.context - 4)
    assert torch.isfinite(model(batch_of([long, long]), by_token=True).losses).all()
    with pytest.raises(UserError, match=r"129 tokens exceed the context"):
        model(batch_of([[3], [5] * 129]))


@pytest.mark.parametrize("name", ["prefix_lm", "deepstack"])
def test_what_works_row_by_row_is_refused(make_model: Make, name: str) -> None:
    with pytest.raises(UserError, match=rf"infra.packing: injection '{name}' .* row by row"):
        make_model(injection={"name": name}).pack_conversations()
    injecting = make_model()
    injecting.mixture.fusion.injects = (0,)
    with pytest.raises(UserError, match=r"infra.packing: fusion 'channel_concat' .* row by row"):
        injecting.pack_conversations()


def test_a_model_with_a_memory_besides_attention_is_known() -> None:
    attending = AutoModelForCausalLM.from_config(LlamaConfig(**TINY))
    state_space = MambaConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, state_size=4)
    assert reads_by_attention(attending)
    assert not reads_by_attention(AutoModelForCausalLM.from_config(state_space))


def test_attention_is_computed_within_conversations_alone(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model()
    model.pack_conversations()
    attend, asked = F.scaled_dot_product_attention, []

    def counted(query: torch.Tensor, key: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        asked.append((query.shape[2], key.shape[2], more["attn_mask"]))
        return attend(query, key, *rest, **more)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    model(batch_of([[3, 4, 5], [6, 7, 8, 9, 10], [11, 12]]))
    assert asked == [(3, 3, None), (5, 5, None), (2, 2, None)] * 2
