"""The step `mask`: one trained mixture scored with only some of its experts, without training.

An image goes through the encoders once for all masks.

Shapes: I images, F values of all encoders' maps of an image, L visual tokens, D model width.
"""

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from lmms_eval.api.instance import Instance
from torch import Tensor

from ablate.catalog import suites
from ablate.evaluate.adapter import AblateLMM
from ablate.evaluate.answerer import Answerer
from ablate.evaluate.asked import Asked, asked_by
from ablate.evaluate.asking import show_notes
from ablate.evaluate.asks import Ask, Picture, name_of
from ablate.evaluate.containment import contained
from ablate.evaluate.masking import Masking
from ablate.evaluate.score import run_task
from ablate.files import read_json, write_json
from ablate.store.masks import MASKED

if TYPE_CHECKING:
    from ablate.worker.context import StepContext

Row = dict[str, Any]


def mask(ctx: "StepContext") -> dict[str, Any]:
    """Score the trained candidate under every mask; leaves `masked.json`.

    UserError where the features of its experts cannot be replaced. One process does all of it.
    """
    if not ctx.world.leads:
        return {}
    suite = suites.from_identity(ctx.spec["suite"])
    asked = asked_by(ctx, suite)
    missing = [task for task in suite.tasks if not asked.part(task).is_file()]
    if missing:
        with contained(suite):
            _ask(ctx, suite, missing, asked)
    parts = [read_json(asked.part(task)) for task in suite.tasks]
    order = sorted(
        ((task, row) for task, part in enumerate(parts) for row in range(len(part["rows"][0]))),
        key=lambda pair: _key(parts[pair[0]]["rows"][0][pair[1]]),
    )
    rows = [
        [parts[task]["rows"][number][row] for task, row in order]
        for number in range(len(ctx.spec["masks"]))
    ]
    write_json(
        ctx.work / MASKED,
        {
            "questions": [[row["task"], row["id"], row["image"]] for row in rows[0]],
            "masks": [
                {
                    "kept": kept,
                    "scores": [row["score"] for row in answered],
                    "weights": [row["weight"] for row in answered],
                    "answers": [row["answer"] for row in answered],
                }
                for kept, answered in zip(ctx.spec["masks"], rows, strict=True)
            ],
        },
    )
    shutil.rmtree(asked.work)
    return {
        "questions": len(order),
        "masks": len(ctx.spec["masks"]),
        "seconds_generate": sum(part["seconds"] for part in parts),
    }


def _key(row: Row) -> tuple[str, str]:
    return row["task"], row["id"]


def _ask(
    ctx: "StepContext", suite: suites.Suite, tasks: Sequence[suites.SuiteTask], asked: Asked
) -> None:
    """Run `tasks`, writing the part of each: rows as of answers.jsonl, by mask."""
    [trained] = ctx.parents.values()
    answerer = Answerer.load(trained)
    adapter = MaskedLMM(
        answerer,
        ctx.spec["masks"],
        ctx.spec["way"],
        batch_size=ctx.infra.get("micro_batch_size") or "auto",
        device=ctx.device,
        blank=suite.blank,
    )
    show_notes(ctx, answerer, adapter, asked)
    sizes = {task.task: len(asked.questions[task.task]) for task in suite.tasks}
    total = sum(sizes.values())
    done = total - sum(sizes[task.task] for task in tasks)
    for task in tasks:
        adapter.watch = lambda answered, _, task=task, before=done: ctx.progress(
            before + answered, total, task.task
        )
        adapter.known = {}
        parts = [run_task(adapter, task, asked)]
        for answers in adapter.masked:
            adapter.known = answers  # nothing is asked any more: lmms-eval scores what was said
            parts.append(run_task(adapter, task, asked))
        rows = [part["rows"] for part in parts]
        write_json(asked.part(task), {"rows": rows, "seconds": parts[0]["seconds"]})
        done += sizes[task.task]


class MaskedLMM(AblateLMM):
    """lmms-eval's model, which answers each question under every mask; it hands on what the first
    said, and keeps in `masked` what the others did, by task and number of the question.

    `masks`: the numbers of the experts that each keeps, the first all of them; `way`: what stands
    in for an expert's features: "zeros", or the "mean" over the images of a task. UserError where
    the fusion runs the base's blocks itself, or sees the question.
    """

    def __init__(
        self, answerer: Answerer, masks: Sequence[Sequence[int]], way: str, **how: Any
    ) -> None:
        super().__init__(answerer, **how)
        self._masking = Masking(self.model)
        self.masked: list[dict[tuple[str, int], str]] = []
        self._way, self._number = way, 0
        self._kept, self._stand_in = masks, self._masking.zeros
        self._names: list[tuple[str, int]] = []

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The answers with all experts; all requests are of one task."""
        if not self.known:
            self.masked = [{} for _ in self._kept[1:]]
            self._names = [name_of(request) for request in requests]
            if self._way == "mean":
                self._stand_in = self._mean(requests)
        answers: list[str] = super().generate_until(requests)
        return answers

    def _answer(self, asks: Sequence[Ask]) -> list[str]:
        for number, answers_of_mask in enumerate(self.masked, start=1):
            self._number = number
            answers = super()._answer(asks)
            names = [self._names[ask.number] for ask in asks]
            answers_of_mask.update(zip(names, answers, strict=True))
        self._number = 0
        return super()._answer(asks)

    def _see(self, pictures: Sequence[Picture]) -> tuple[list[bytes], dict[bytes, Tensor]]:
        digests, features = self._of_images(pictures, self._masking.features)
        if not features:
            return digests, features
        whole = torch.stack([*features.values()]).to(self.device)
        made = self._masking.see(whole, self._kept[self._number], self._stand_in)
        mask = f"{self._number} {self._names[0][0]}".encode()  # a mean is of a task
        tokens = {mask + digest: seen for digest, seen in zip(features, made, strict=True)}
        return [mask + digest for digest in digests], tokens

    @torch.inference_mode()
    def _mean(self, requests: list[Instance]) -> Tensor:
        """(F,): over the images that are asked about, each once."""
        total, seen = torch.zeros_like(self._stand_in, dtype=torch.float64), set[bytes]()
        for asks in self._batches(requests):
            pictures = [picture for ask in asks for picture in ask.open()]
            with self._precision:
                digests, features = self._of_images(pictures, self._masking.features)
            for digest in dict.fromkeys(digests):
                if digest not in seen:
                    seen.add(digest)
                    total += features[digest].to(total)
        return (total / max(len(seen), 1)).float()
