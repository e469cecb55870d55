"""Toy experts of the paper's families and a toy language model, each as its own is published."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from checkpoint_toys import TEXT, eva02_state, internvit_state, sam_model, scattered
from encoder_toys import CLIP, EVA02_DET, INTERNVIT, SAM
from hub_toys import ToyHub
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from ablate.catalog import llms
from ablate.catalog.encoder_spec import EncoderSpec, Weights
from ablate.catalog.llms import LlmSpec


def _toy(name: str, spec: EncoderSpec, repository: str, file: str, **more: int) -> EncoderSpec:
    return replace(spec, name=name, weights=Weights("published", repository, file=file), **more)


BASE = _toy("clip-toy", CLIP, "someone/clip", "pytorch_model.bin", resolution=64)
TILED = replace(BASE, name="clip-toy-tiled", tile=32)
DETECTOR = _toy("detector-toy", EVA02_DET, "someone/eva", "det/eva.pth")
INTERN = _toy("intern-toy", INTERNVIT, "someone/intern", "model.safetensors.index.json")
SEGMENTER = _toy("sam-toy", SAM, "someone/sam", "model.safetensors")
ENCODERS = (BASE, TILED, DETECTOR, INTERN, SEGMENTER)

LLM = LlmSpec("vicuna-toy", "published", "someone/vicuna", width=128, context=1024)


def publish(hub: ToyHub) -> None:
    """Put the checkpoints of all toys onto the hub."""
    config = CLIPConfig(vision_config=dict(CLIP.architecture), text_config=TEXT)
    state = scattered(CLIPModel(config)).state_dict()
    torch.save(state, hub.folder("someone/clip") / "pytorch_model.bin")
    detector = hub.folder("someone/eva") / "det"
    detector.mkdir()
    state = eva02_state(depth=3, width=32, inner=85, table=16, patch=8)
    torch.save({"model": state, "iteration": 7}, detector / "eva.pth")
    sam_model().save_pretrained(hub.folder("someone/sam"))
    shard(internvit_state(), hub.folder("someone/intern"), "model", "safetensors")
    _publish_llm(hub.folder("someone/vicuna"))


def _publish_llm(folder: Path) -> None:
    """The shipped language model as Vicuna is published: sharded pickles, and files of no use."""
    shipped = llms.resolve("llama-micro").folder
    for path in shipped.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    shard(load_file(shipped / "model.safetensors"), folder, "pytorch_model", "bin")
    (folder / "original").mkdir()
    (folder / "original" / "consolidated.pth").write_bytes(b"the same once more")
    (folder / "README.md").write_text("about it")


def shard(state: Mapping[str, Tensor], folder: Path, name: str, kind: str) -> None:
    """Write the tensors in two files and an index."""
    places = {}
    for number in range(2):
        file = f"{name}-{number}.{kind}"
        part = dict(sorted(state.items())[number::2])
        places |= dict.fromkeys(part, file)
        if kind == "bin":
            torch.save(part, folder / file)
        else:
            save_file(part, folder / file)
    index = {"metadata": {}, "weight_map": places}
    (folder / f"{name}.{kind}.index.json").write_text(json.dumps(index))
