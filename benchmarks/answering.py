"""Answering a benchmark's questions, beside transformers' LLaVA asked them one by one.

    python benchmarks/answering.py [--questions N] [--tokens N]

The micro base candidate, its projector at random, whose answers have one to three tokens, as those
of a trained one; on the processor.
Ours is lmms-eval's model `ablate`: questions in batches of similar length, each image encoded once,
and read once by the language model.
The peer has the same weights (see `peer.py`) and does as lmms-eval's `llava_hf` does with a batch
of one, its default: open the image, process, generate, decode, a question at a time. Drawn
questions of the micro test; both generate greedily, up to as many tokens. In one process, whose CPU
seconds are counted, and which keeps freed memory and looks for garbage as rarely as a worker does.
"""

import json
from pathlib import Path
from time import process_time
from typing import Any

import peer
import torch
from PIL import Image
from rows import Row, run

from ablate.data.prepare import prepare
from ablate.evaluate.adapter import AblateLMM
from ablate.evaluate.answerer import Answerer
from ablate.garbage import collect_rarely
from ablate.model.language import load_tokenizer
from ablate.worker.freed_memory import keep_freed_memory

TASK, SPLIT = "drawn", "test"


class Ours:
    """The adapter, and lmms-eval's requests."""

    def __init__(self, rows: list[dict[str, Any]], folder: Path, tokens: int) -> None:
        from lmms_eval.api.instance import Instance

        def see(row: dict[str, Any]) -> list[Image.Image]:
            return [Image.open(folder / row["image"])]

        answerer = Answerer(peer.our_model(), load_tokenizer(peer.SPEC.llm), "benchmark")
        self.model = AblateLMM(answerer, device="cpu")
        self.model.task_dict = {TASK: {SPLIT: rows}}
        self.model.shown = {(TASK, n): row["image"] for n, row in enumerate(rows)}
        self.model.files = {(TASK, n): [str(folder / row["image"])] for n, row in enumerate(rows)}
        self.requests = [
            Instance(
                request_type="generate_until",
                arguments=(row["question"], {"max_new_tokens": tokens}, see, n, TASK, SPLIT),
                idx=0,
                metadata={"task": TASK, "doc_id": n, "repeats": 1},
            )
            for n, row in enumerate(rows)
        ]

    def answer(self) -> list[str]:
        return self.model.generate_until(self.requests)


class OneByOne:
    """Transformers' LLaVA, a question at a time."""

    def __init__(self, rows: list[dict[str, Any]], folder: Path, tokens: int) -> None:
        self.rows, self.folder, self.tokens = rows, folder, tokens
        self.model = peer.llava(peer.our_model()).eval()
        self.processor = peer.Processor(peer.image_token(self.model))
        self.tokenizer = load_tokenizer(peer.SPEC.llm)

    @torch.inference_mode()
    def answer(self) -> list[str]:
        return [self._answer(row) for row in self.rows]

    def _answer(self, row: dict[str, Any]) -> str:
        turn = [{"role": "user", "content": f"<image>\n{row['question']}"}]
        prompt = self.processor.chat.prompts([turn])[0].tolist()
        ids = torch.tensor([self.processor.expanded(prompt)])
        made = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=self.processor.see(Image.open(self.folder / row["image"])),
            max_new_tokens=self.tokens,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=self.tokenizer.eos_token_id,
        )
        answer: str = self.tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
        return answer.strip()


def rows(questions: int = 256, tokens: int = 16) -> list[Row]:
    torch.set_num_threads(1)
    keep_freed_memory()
    collect_rarely()
    with peer.scratch() as scratch:
        images = max(1, questions // 4)
        folder = prepare({"world": "test", "images": images, "seed": 1}, Path(scratch))
        lines = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
        asked = [json.loads(line) for line in lines]
        took: dict[str, float] = {}
        for name, way in (("ablate", Ours), ("one by one", OneByOne)):
            few, every = (way(some, folder, tokens) for some in (asked[:4], asked))
            few.answer()
            began = process_time()
            every.answer()
            took[name] = 1e3 * (process_time() - began) / len(asked)
    return [Row("evaluate, a question", took["ablate"], "CPU ms", "llava_hf", took["one by one"])]


if __name__ == "__main__":
    run(rows, __doc__)
