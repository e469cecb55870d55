"""How packed conversations attend is chosen by the device, and a step's log says it, and why."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from packing_toys import uncompiled  # noqa: F401
from test_devices import assert_close, make_job, with_text  # noqa: F401
from test_packed_stage import PACKED, assert_alike
from training_toys import Make
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedModel
from transformers.integrations import flex_attention as integration

from ablate.model import packing
from ablate.model.packing import APART, AT_ONCE
from ablate.train import stage
from ablate.train.packing import packed_attention, require_alike
from ablate.train.stage import train

TINY = LlamaConfig(
    vocab_size=8,
    hidden_size=32,
    intermediate_size=8,
    num_hidden_layers=1,
    num_attention_heads=4,
    num_key_value_heads=2,
)
DROPPING = GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=2)


def model_of(config: LlamaConfig | GPT2Config) -> PreTrainedModel:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("config", "device", "why"),
    [
        (TINY, "cpu", "there is no GPU"),
        (DROPPING, "cuda", "attn_pdrop of the language model is 0.1"),
        (TINY, "cuda:99", ""),  # whatever torch says of a GPU that does not work
    ],
)
def test_each_conversation_apart_where_that_is_all_that_works(
    config: LlamaConfig | GPT2Config, device: str, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert packed_attention(model_of(config), device, half=False) == APART
    [line] = capfd.readouterr().err.splitlines()
    start = "infra.packing: attention of one conversation after the other: "
    assert line.startswith(start + why)
    assert len(line) > len(start)


@pytest.mark.usefixtures("uncompiled")
def test_a_kernel_of_other_results_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    require_alike(model_of(TINY), "cpu", torch.bfloat16)
    build = packing.block_mask
    monkeypatch.setattr(packing, "block_mask", lambda tokens, *rest: build([sum(tokens)], *rest))
    with pytest.raises(RuntimeError, match="results are not those of plain attention"):
        require_alike(model_of(TINY), "cpu", torch.bfloat16)


@pytest.mark.slow
@pytest.mark.usefixtures("llm_without_dropout", "uncompiled")
def test_a_stage_of_conversations_at_once_has_the_losses_of_a_padded_one(
    make_context: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of compiled layers that recompute their activations."""
    torch.compiler.reset()
    how = {"batch_size": 5, "steps": 2}
    padded = make_context("padded", **how)
    train(padded)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    monkeypatch.setattr(stage, "packed_attention", lambda *_, half: AT_ONCE)
    infra = {**PACKED, "gradient_checkpointing": True, "compile": True}
    packed = make_context("packed", **how, infra=infra)
    train(packed)
    assert_alike(packed.rows(), padded.rows())


@pytest.mark.slow
@pytest.mark.usefixtures("llm_without_dropout", "uncompiled")
@pytest.mark.parametrize(("strategy", "tasks", "nodes"), [("fsdp", 2, 1), ("hsdp", 4, 2)])
def test_processes_with_compiled_layers_do_so_to_the_steps_of_one(
    make_job: Any,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    tasks: int,
    nodes: int,
) -> None:
    """Where weights are brought together block by block, and each process packs rows of its own."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    monkeypatch.setattr(stage, "packed_attention", lambda *_, half: AT_ONCE)
    how = {"data": with_text(tmp_path), "steps": 2}
    alone = make_job("alone", **how).done()
    infra = {"packing": True, "compile": True, "gradient_checkpointing": True}
    job = make_job("shared", tasks, {"strategy": strategy, **infra}, **how)
    assert_close(replace(job, nodes=nodes).done(), alone)


@pytest.mark.gpu
@pytest.mark.usefixtures("llm_without_dropout")
def test_on_a_gpu_a_packed_stage_attends_at_once_to_the_losses_of_a_padded_one(
    make_context: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    how = {"batch_size": 5, "steps": 3, "device": "cuda", "precision": "fp32"}
    padded, packed = make_context("padded", **how), make_context("packed", **how, infra=PACKED)
    for ctx in padded, packed:
        train(ctx)
    assert "infra.packing: attention of all conversations at once" in capfd.readouterr().err
    assert integration.WrappedFlexAttention._is_flex_compiled
    assert_alike(packed.rows(), padded.rows())
