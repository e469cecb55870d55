"""A store that looks as if a study had run, made in a second: records, answers, images, decisions.

Skills are invented (which encoder helps which benchmark), answers drawn from a seed.
"""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

from PIL import Image, ImageDraw

from ablate.catalog import suites
from ablate.config.study import Study, load_study
from ablate.design import Candidate
from ablate.files import write_json
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.results import StoredResults
from ablate.store.steps import Step, steps_for

WORDS = ("red", "blue", "circle", "seven", "three", "yes", "no", "left", "above", "square")
SKILL: dict[str, dict[str, float]] = {
    "clip-micro": {"abl_gqa": 0.3, "abl_vqa": 0.35, "abl_pope": 0.25, "abl_count": 0.15},
    "pix2struct-micro": {
        "abl_ocr": 0.45,
        "abl_textvqa": 0.4,
        "abl_docvqa": 0.4,
        "abl_chartqa": 0.1,
    },
    "convnext-micro": {"abl_vqa": 0.15, "abl_gqa": 0.12, "abl_chartqa": 0.15},
    "eva02-micro": {"abl_count": 0.25, "abl_pope": 0.15},
    "sam-micro": {"abl_count": 0.1, "abl_gqa": 0.05},
    "dinov2-micro": {"abl_vqa": 0.02},
}
STUDY = """
title: The greedy search, small
question: Which experts does the base encoder lack, and how many are worth adding?
base:
  encoders: [clip-micro@32]
  fusion: {name: channel_concat, grid: [4, 4]}
  llm: llama-micro
  recipe:
    prealign: {data: talk, steps: 60, batch_size: 32, train: {projector: 2.0e-3, encoders: 5.0e-4}}
    pretrain: {data: pairs, steps: 60, batch_size: 32, train: {projector: 3.0e-3, fusion: 3.0e-3}}
    finetune: {data: talk, steps: 100, batch_size: 32, train: {projector: 1.0e-3, llm: 5.0e-4}}
data:
  pairs: {world: pairs, images: 30, seed: 1}
  talk: {world: conversations, images: 40, seed: 2}
suite: micro
"""
ROUNDS = """
published: F4_roundrobin
explore:
  kind: rounds
  published: [X1, X2, X3, X4]
  pool: [convnext-micro, eva02-micro, pix2struct-micro, sam-micro, dinov2-micro]
  rounds: 3
"""
FAILED = "clip-micro@32+pix2struct-micro@128+dinov2-micro@64"
REASON = "the loss became NaN at step 41 </pre><script>alert(1)</script>"
ARMS = """
published: T4_fusion
explore:
  kind: arms
  axis: fusion
  arms:
    - {name: channel concat, published: Channel Concat,
       set: {encoders: [clip-micro, pix2struct-micro]}}
    - {name: sequence append, published: Sequence Append,
       set: {encoders: [clip-micro, pix2struct-micro], fusion.name: sequence_append}}
    - {name: llava-hr, set: {encoders: [clip-micro, pix2struct-micro], fusion.name: llava_hr}}
"""

POOL = ("convnext-micro", "eva02-micro", "pix2struct-micro", "sam-micro", "dinov2-micro")


def many_arms(count: int = 1000) -> str:
    """A study of so many arms on the published benchmarks, as YAML: mixtures by learning rate."""
    mixtures = [
        ["clip-micro", *(name for bit, name in enumerate(POOL) if number >> bit & 1)]
        for number in range(2 ** len(POOL))
    ]
    arms = [
        {
            "name": f"{'+'.join(name.split('-')[0] for name in mixture)} at {rate}e-6",
            "set": {"encoders": mixture, "recipe.finetune.train.llm": rate * 1e-6},
        }
        for rate in range(1, -(-count // len(mixtures)) + 1)
        for mixture in mixtures
    ]
    explore = {"kind": "arms", "axis": "mixture and learning rate", "arms": arms[:count]}
    text = STUDY.replace("suite: micro", "suite: eagle-judged")
    return f"{text}explore: {json.dumps(explore)}\n"


def play_many(folder: Path, count: int = 1000) -> Study:
    """`many_arms` played at `folder`: 100 questions each, so a thousand of them 100,000 answers."""
    subject = study(folder, many_arms(count), "many")
    with mock.patch("os.fsync"):  # nothing here need outlive a power cut
        Run(folder, subject, images=100, per_image=1).rounds()
    return subject


def study(folder: Path, text: str, name: str = "greedy") -> Study:
    """The study of this YAML, written into `folder` first."""
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return load_study(str(path))


class Run:
    """Pretends to run a study in the store at `home`."""

    def __init__(self, home: Path, subject: Study, images: int = 40, per_image: int = 8) -> None:
        self.store, self.study = Store(home), subject
        self.tasks = [task.task for task in suites.resolve(subject.suite).tasks]
        self.images, self.per_image = images, per_image
        self.data = home / "data" / "test-000000000000"
        for index in range(images):
            _draw(self.data / "images" / f"{index:05d}.png", index)

    def rounds(
        self, last: int | None = None, fail: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Play rounds 1 to `last`; a candidate whose name is in `fail` fails with that message."""
        for number in range(1, (last or self.study.rounds) + 1):
            turn = rounds_so_far(self.study, StoredResults(self.store, self.study), number)[-1]
            for candidate in turn.candidates:
                if candidate.name in fail:
                    self.fail(candidate, "finetune", fail[candidate.name])
                else:
                    self.finish(candidate)

    def finish(self, candidate: Candidate) -> None:
        """Commit every step of the candidate with its payload."""
        for step in steps_for(candidate, self.study):
            self._commit(step, candidate)

    def fail(self, candidate: Candidate, kind: str, message: str) -> None:
        """Commit the steps before the one of this kind, and keep that one as failed."""
        for step in steps_for(candidate, self.study):
            if step.kind == kind:
                error = {"type": "UserError", "message": message}
                self.store.fail(step, {**_record(step), "status": "failed", "error": error})
                return
            self._commit(step, candidate)

    def _commit(self, step: Step, candidate: Candidate) -> None:
        if self.store.record(step) is not None:
            return
        work = self.store.work(step)
        work.mkdir(parents=True)
        if step.kind == "evaluate":
            result = self._answers(work, candidate)
        else:
            result = self._stage(work, step)
        self.store.commit(step, {**_record(step), "result": result})

    def _stage(self, folder: Path, step: Step) -> dict[str, Any]:
        rng = random.Random(step.slug)
        lines = [
            json.dumps({"step": n, "loss": 4.0 * 0.95**n + 0.6 + rng.random() / 4})
            for n in range(step.spec["stage"]["steps"])
        ]
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        trained = step.spec["stage"]["train"]
        encoders = [
            f"encoder {one['name']}@{one['resolution']}" for one in step.spec["model"]["encoders"]
        ]
        parts = {**dict.fromkeys(encoders, "encoders"), "fusion": "fusion"}
        parts |= {"projector": "projector", "llm": "llm"}
        table = [
            {"part": part, "parameters": 10**6, "trainable": 10**6 * (role in trained)}
            for part, role in parts.items()
        ]
        write_json(folder / "parameters.json", table)
        model, stage = step.spec["model"], step.spec["stage"]
        height, width = model["fusion"]["grid"]
        in_turn = len(encoders) if model["fusion"]["name"] == "sequence_append" else 1
        return {
            "steps": stage["steps"],
            "samples": stage["steps"] * stage["batch_size"],
            "parameters": sum(row["parameters"] for row in table),
            "trainable": sum(row["trainable"] for row in table),
            "visual_tokens": height * width * in_turn,
            "vision_flops": 10**9 * sum(one["resolution"] for one in model["encoders"]),
        }

    def _answers(self, folder: Path, candidate: Candidate) -> dict[str, Any]:
        """Answers right with a chance by skill; the questions are the same for every candidate."""
        rows, hits = [], {task: [0.0, 0] for task in self.tasks}
        for index in range(self.images * self.per_image):
            task = self.tasks[index % len(self.tasks)]
            easy = random.Random(f"question {index}")
            truth = easy.choice(WORDS)
            skill = 0.22 + sum(
                SKILL[title.split("@")[0]].get(task, 0.0) for title in candidate.encoders
            )
            luck = 0.7 * easy.random() + 0.3 * random.Random(f"{candidate.name} {index}").random()
            right = luck < skill
            hits[task][0] += right
            hits[task][1] += 1
            rows.append(
                {
                    "task": task,
                    "id": f"{index:06d}",
                    "image": f"images/{index // self.per_image:05d}.png",
                    "question": f"What is in cell {index % 16}? Answer with one word",
                    "truth": truth,
                    "answer": truth if right else WORDS[(WORDS.index(truth) + 3) % len(WORDS)],
                    "score": float(right),
                    "weight": 1.0,
                }
            )
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "answers.jsonl").write_text(text, encoding="utf-8")
        write_json(folder / "data.json", {"folder": self.data.name})
        scores = {
            task: {"metric": "exact_match", "value": 100 * right / n, "n": n, "unread": 0}
            for task, (right, n) in hits.items()
        }
        mean = sum(one["value"] for one in scores.values()) / len(scores)
        return {
            "scores": scores,
            "composite": mean,
            "questions": len(rows),
            "seconds_generate": 10.0 + len(candidate.encoders),
        }


def _draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    image = Image.new("RGB", (128, 128), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = rng.randrange(4) * 32 + 6, rng.randrange(4) * 32 + 6
        pen.ellipse((x, y, x + 20, y + 20), fill=rng.choice(("crimson", "teal", "navy", "gold")))
    image.save(path)


def _record(step: Step) -> dict[str, Any]:
    seconds = {"prealign": 14.0, "pretrain": 9.5, "finetune": 38.0, "evaluate": 12.5}[step.kind]
    return {
        "schema": 1,
        "key": step.key,
        "kind": step.kind,
        "slug": step.slug,
        "status": "done",
        "started": 1.0e9,
        "ended": 1.0e9 + seconds,
        "seconds": seconds,
        "device_seconds": seconds,
        "restarts": 0,
        "git_commit": "0" * 40,
        "device": "cpu",
        "host": "a-machine",
        "threads": 1,
        "peak_memory_mb": 812.5,
        "versions": {"torch": "2.9.0", "python": "3.11.7"},
        "result": {},
        "error": None,
    }
