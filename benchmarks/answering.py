"""Answering a benchmark's questions, beside lmms-eval's own `llava_hf`.

    python benchmarks/answering.py [--questions N] [--tokens N]

The micro base candidate, its projector at random, whose answers have one to three tokens, as those
of a trained one; on the processor.
Ours is lmms-eval's model `ablate`: questions in batches of similar length, each image encoded once,
and read once by the language model.
The peer is lmms-eval's model `llava_hf` on transformers' LLaVA of the same weights (see `peer.py`),
with a batch of one, which is all it takes. Both are given the same requests: drawn questions of the
micro test, four about each image, as many as an evaluation there asks at once; both generate
greedily, up to as many tokens. Answers differ where CLIP's class token, which ours drops, makes a
difference: without it 1,595 of 1,600 are the same, as pixels are rounded once more there.
In one process, whose CPU seconds are counted, and which keeps freed memory and looks for garbage as
rarely as a worker does.
"""

import json
import sys
from pathlib import Path
from time import process_time
from types import SimpleNamespace
from typing import Any

import peer
import torch
from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms
from loguru import logger
from PIL import Image
from rows import Row, run

from ablate.data.prepare import prepare
from ablate.evaluate.adapter import AblateLMM
from ablate.evaluate.answerer import Answerer
from ablate.garbage import collect_rarely
from ablate.model.language import load_tokenizer
from ablate.worker.freed_memory import keep_freed_memory

TASK, SPLIT = "drawn", "test"


def requests(rows: list[dict[str, Any]], folder: Path, tokens: int) -> list[Instance]:
    """The questions as lmms-eval asks them."""

    def see(row: dict[str, Any]) -> list[Image.Image]:
        return [Image.open(folder / row["image"])]

    return [
        Instance(
            request_type="generate_until",
            arguments=(row["question"], {"max_new_tokens": tokens}, see, n, TASK, SPLIT),
            idx=0,
            metadata={"task": TASK, "doc_id": n, "repeats": 1},
        )
        for n, row in enumerate(rows)
    ]


def ours(rows: list[dict[str, Any]], folder: Path) -> AblateLMM:
    """The adapter, told of the questions' images."""
    answerer = Answerer(peer.our_model(), load_tokenizer(peer.SPEC.llm), "benchmark")
    model = AblateLMM(answerer, device="cpu")
    model.task_dict = {TASK: {SPLIT: rows}}
    model.shown = {(TASK, n): row["image"] for n, row in enumerate(rows)}
    model.files = {(TASK, n): [str(folder / row["image"])] for n, row in enumerate(rows)}
    return model


def llava_hf(rows: list[dict[str, Any]], folder: Path) -> lmms:
    """Lmms-eval's, of the same weights."""
    # It imports decord for videos, which are not asked about.
    sys.modules.setdefault("decord", SimpleNamespace(VideoReader=None, cpu=None))  # type: ignore[arg-type]
    from lmms_eval.models.simple.llava_hf import LlavaHf

    peer.save_llava(folder / "llava")
    model = LlavaHf(str(folder / "llava"), device="cpu", device_map="cpu", dtype="float32")
    model.task_dict = {TASK: {SPLIT: rows}}
    return model


def rows(questions: int = 1600, tokens: int = 16) -> list[Row]:
    torch.set_num_threads(1)
    logger.disable("lmms_eval")
    keep_freed_memory()
    collect_rarely()
    with peer.scratch() as scratch:
        images = max(1, questions // 4)
        folder = prepare({"world": "test", "images": images, "seed": 1}, Path(scratch))
        lines = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
        asked = [json.loads(line) for line in lines]
        took: dict[str, float] = {}
        for name, way in (("ablate", ours), ("llava_hf", llava_hf)):
            model = way(asked, folder)
            model.generate_until(requests(asked[:4], folder, tokens))
            every = requests(asked, folder, tokens)
            model = way(asked, folder)  # that has seen none
            began = process_time()
            model.generate_until(every)
            took[name] = 1e3 * (process_time() - began) / len(asked)
    return [Row("evaluate, a question", took["ablate"], "CPU ms", "llava_hf", took["llava_hf"])]


if __name__ == "__main__":
    run(rows, __doc__)
