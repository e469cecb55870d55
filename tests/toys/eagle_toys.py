"""The paper's experts and language models made small, under their names, in their formats.

And conversations where the studies look for theirs, and a suite of all 17 benchmarks.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from benchmark_toys import save
from checkpoint_toys import TEXT, eva02_state, internvit_state, sam_model, scattered
from hub_toys import ToyHub
from PIL import Image
from published_toys import shard
from safetensors.torch import save_file
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    LlamaConfig,
    LlamaForCausalLM,
    Pix2StructConfig,
    Pix2StructForConditionalGeneration,
)

from ablate.catalog import llms, suites
from ablate.catalog import paper_encoders as paper
from ablate.catalog.data_sources import MixData
from ablate.catalog.encoder_spec import EncoderSpec
from ablate.catalog.llms import LlmSpec
from ablate.catalog.micro_encoders import WEIGHTS
from ablate.config.study import load_study
from ablate.data.chat import Chat
from ablate.encoders.networks import ConvNeXt

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
SIZES: dict[str, dict[str, Any]] = {
    "clip": {"width": 32, "architecture": SMALL},
    "convnext": {"width": 32, "architecture": {"depths": [1, 1, 1, 1], "dims": [4, 4, 8, 32]}},
    "eva02_det": {
        "patch": 64,
        "width": 32,
        "architecture": {"patch_size": 64, "img_size": 256, "embed_dim": 32, "depth": 3}
        | {"num_heads": 2, "window": 6, "global_blocks": [1], "ref_feat_shape": 4},
    },
    "sam": {
        "patch": 64,
        "width": 64,
        "architecture": {"patch_size": 64, "hidden_size": 32, "num_hidden_layers": 2}
        | {"num_attention_heads": 2, "output_channels": 16, "window_size": 6}
        | {"global_attn_indexes": [1]},
    },
    "pix2struct": {
        "max_patches": 70,
        "width": 32,
        "architecture": {"seq_len": 70, "hidden_size": 32}
        | {"d_ff": 48, "d_kv": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    },
    "dinov2": {"width": 32, "architecture": SMALL},
    "internvit": {"width": 32, "architecture": SMALL},
}
"""What of each family's specs is another than in the paper; all else is the paper's own."""


def _small(spec: EncoderSpec) -> EncoderSpec:
    sizes = SIZES[re.sub("_(short|aligned|registers)$", "", spec.family)]
    architecture = {**spec.architecture, **sizes["architecture"]}
    if spec.pyramid:
        sizes = {**sizes, "pyramid": ((16, 8), (8, 4), (4, 4))}
    return replace(spec, **{**sizes, "architecture": architecture})


ENCODERS = tuple(
    _small(spec)
    for spec in paper.SPECS
    if spec.family not in ("siglip", "clip_llava")  # in no study, nor are these
    and not spec.name.startswith("convnext-l")
)
LLMS = tuple(
    replace(spec, width=32, layers=1, parameters=0, config={})
    for spec in llms.SPECS
    if spec.kind == "published"
)


def publish(hub: ToyHub) -> None:
    """Put the checkpoints of all of them onto the hub."""
    for spec in ENCODERS:
        file = hub.folder(spec.weights.ref) / spec.weights.file
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            CHECKPOINTS[spec.family](dict(spec.architecture), file)
    for llm in LLMS:
        _publish_llm(llm, hub.folder(llm.ref))


def _clip(architecture: dict[str, Any], file: Path) -> None:
    model = scattered(CLIPModel(CLIPConfig(vision_config=architecture, text_config=TEXT)))
    torch.save(model.state_dict(), file)


def _convnext(architecture: dict[str, Any], file: Path) -> None:
    save_file(scattered(ConvNeXt(num_classes=7, **architecture)).state_dict(), file)


def _detector(architecture: dict[str, Any], file: Path) -> None:
    state = eva02_state(depth=3, width=32, inner=85, table=16, patch=64)
    torch.save({"model": state, "iteration": 7}, file)


def _sam(architecture: dict[str, Any], file: Path) -> None:
    sam_model(architecture).save_pretrained(file.parent)


def _pix2struct(architecture: dict[str, Any], file: Path) -> None:
    text = {"hidden_size": 32, "d_ff": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2}
    config = Pix2StructConfig(vision_config=architecture, text_config={**text, "vocab_size": 10})
    torch.save(scattered(Pix2StructForConditionalGeneration(config)).state_dict(), file)


def _dinov2(architecture: dict[str, Any], file: Path) -> None:
    config = Dinov2Config(**{**architecture, "use_mask_token": True})
    scattered(Dinov2Model(config)).save_pretrained(file.parent)


def _dinov2_registers(architecture: dict[str, Any], file: Path) -> None:
    config = Dinov2WithRegistersConfig(**architecture)
    scattered(Dinov2WithRegistersModel(config)).save_pretrained(file.parent)


def _internvit(architecture: dict[str, Any], file: Path) -> None:
    shard(internvit_state(patch=14, table=1024), file.parent, "model", "safetensors")


CHECKPOINTS: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "clip": _clip,
    "clip_aligned": _clip,
    "convnext": _convnext,
    "eva02_det": _detector,
    "eva02_det_aligned": _detector,
    "sam": _sam,
    "sam_short": _sam,
    "pix2struct": _pix2struct,
    "dinov2": _dinov2,
    "dinov2_registers": _dinov2_registers,
    "internvit": _internvit,
}


def _publish_llm(spec: LlmSpec, folder: Path) -> None:
    """A model that answers in a word: whatever it says first, it then ends.

    Vicuna's as sharded pickles, the others' as safetensors.
    """
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "micro" / "llama-micro")
    tokenizer.save_pretrained(folder)
    if spec.template:
        tokenizer.chat_template = spec.template
    [prompt] = Chat(tokenizer).prompts([[{"role": "user", "content": "a"}]])
    config = LlamaConfig(
        **{**SMALL, "num_hidden_layers": 1},
        vocab_size=len(tokenizer),
        max_position_embeddings=spec.context,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = LlamaForCausalLM(config)
    words, head = model.model.embed_tokens.weight.data, model.lm_head.weight.data
    words[:, 0] = 8  # says to end, with every word but the one in front of an answer
    words[prompt[-1], 0] = -8
    head[:, 0] = 0
    head[tokenizer.eos_token_id, 0] = 8
    if "vicuna" in spec.name:
        config.save_pretrained(folder)
        shard(model.state_dict(), folder, "pytorch_model", "bin")
    else:
        model.save_pretrained(folder)


def write_data(name: str) -> None:
    """Four rows for each source that the study learns from, one of them bad, where it looks."""
    learnt_from = load_study(name).learnt_from.values()
    for files in (files for source in learnt_from for files in source.parts.values()):
        files.conversations.parent.mkdir(parents=True, exist_ok=True)
        rows = [_talk(number, files.images is not None) for number in range(3)]
        rows.append({"id": "3", "conversations": []})
        lines = [json.dumps(row) for row in rows]
        jsonl = files.conversations.suffix == ".jsonl"
        text = "".join(f"{line}\n" for line in lines) if jsonl else f"[{','.join(lines)}]"
        files.conversations.write_text(text)
        for number in range(3) if files.images else ():
            files.images.mkdir(parents=True, exist_ok=True)
            picture = Image.new("RGB", (48, 32 + 16 * number), (80 * number, 9, 99))
            picture.save(files.images / f"{number}.png")


def _talk(number: int, image: bool) -> dict[str, Any]:
    """A conversation of LLaVA's format."""
    asked = "<image>\n" * image + "how many circles are there? " * (number + 1)
    said = [{"from": "human", "value": asked}, {"from": "gpt", "value": f"{number % 5}"}]
    row = {"id": f"{number}", "conversations": said}
    return {**row, "image": f"{number}.png"} if image else row


def small(name: str, folder: Path, explored: Mapping[str, Any]) -> str:
    """The study of this name with as little data, and as small batches, as still is all of it.

    `explored`: what is changed of its `explore`; of arms the names of those it has.
    """
    explore = load_study(name).explore.model_dump(exclude_unset=True) | explored
    if "arms" in explored:
        arms = load_study(name).explore.model_dump(exclude_unset=True)["arms"]
        explore["arms"] = [one for one in arms if one["name"] in explored["arms"]]
        assert len(explore["arms"]) == len(explored["arms"])
    study: dict[str, Any] = {
        "extends": name,
        "base": {"recipe": {"pretrain": {"batch_size": 2}, "finetune": {"batch_size": 4}}},
        "explore": explore,
        "data": {},
        "suite": "toys.yaml",
        "infra": {"device": "cpu", "devices": 1, "num_workers": 0, "micro_batch_size": None},
    }
    if load_study(name).base.recipe.prealign:
        study["base"]["recipe"]["prealign"] = {"batch_size": 4}
    few = {"rows": 4, "max_bad": 1}
    for key, source in load_study(name).learnt_from.items():
        if isinstance(source, MixData):
            mix = dict.fromkeys(source.mix, few)
            study["data"][key] = {"canvas": 64, "weight": 0.25, "mix": mix}  # a row of each
        else:
            study["data"][key] = {"canvas": 64, **few}
    path = folder / f"{Path(name).name}.yaml"
    path.write_text(yaml.safe_dump(study))
    return str(path)


def write_suite(folder: Path, benchmarks: Path) -> None:
    """A suite of all 17 benchmarks, of a question each (MME: a pair), and their sets.

    All show the same pictures, which a candidate encodes once at the paper's sizes.
    """
    named = (suites.resolve(name) for name in ("eagle", "eagle-judged"))
    tasks = {task.task: task for suite in named for task in suite.tasks}.values()
    for task in tasks:
        save(task, benchmarks, questions=2 if task.task == "mme" else 1, pictured="mme")
    few = [task.model_dump(exclude={"questions"}) for task in tasks]  # as few as there are
    (folder / "toys.yaml").write_text(yaml.safe_dump({"title": "toys", "tasks": few}))
