"""Executors that train nothing: small files whose content follows from the step's inputs alone.

Every execution is written down in `executed.log`, so that tests can count them.
"""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from ablate.errors import UserError
from ablate.preflight.step import Problem, write_problems
from ablate.worker.context import StepContext

GAIN = {"clip": 10.0, "pix2struct": 20.0, "sam": 6.0, "convnext": 5.0, "dinov2": 3.0, "eva02": 2.0}
IMAGES, TASKS = 40, ("abl_ocr", "abl_vqa")


def note(ctx: StepContext, what: str) -> None:
    """Append one line, atomically, to the log that all executions share."""
    line = f"{what} {ctx.step_kind} {ctx.work.name}\n".encode()
    handle = os.open(ctx.home / "executed.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, line)
    os.close(handle)


def executed(home: Path, what: str = "end") -> list[str]:
    """`kind dirname` of every execution that began (`begin`) or came to its end (`end`)."""
    path = home / "executed.log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split(" ", 1)[1] for line in lines if line.startswith(what + " ")]


def train(ctx: StepContext) -> dict[str, Any]:
    """Leaves the digest of all inputs, and the encoders for `evaluate`."""
    note(ctx, "begin")
    pause = float(os.environ.get("FAKE_SECONDS", "0"))
    for tick in range(10):
        ctx.progress(tick, 10, "tick")
        time.sleep(pause / 10)
    inputs = [json.dumps(ctx.spec["model"], sort_keys=True), str(ctx.spec["seed"])]
    inputs += [(folder / "weights.txt").read_text() for _, folder in sorted(ctx.parents.items())]
    digest = hashlib.sha256("".join(inputs).encode()).hexdigest()
    (ctx.work / "weights.txt").write_text(digest)
    names = [encoder["name"] for encoder in ctx.spec["model"]["encoders"]]
    (ctx.work / "encoders.json").write_text(json.dumps(names))
    ctx.truncate_log(0)
    ctx.log({"step": 1, "loss": int(digest[:4], 16) / 65536})
    print(f"trained {names}")
    note(ctx, "end")
    return {"steps": 1}


def together(ctx: StepContext) -> dict[str, Any]:
    """A fake step that needs all its processes; each writes down that it was there."""
    mine = [ctx.world.rank, os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), ctx.device]
    (ctx.home / f"pid-{ctx.world.rank}").write_text(str(os.getpid()))
    ctx.progress(1, 2)
    ctx.log({"step": 1, "by": ctx.world.rank})
    there = ctx.world.agree(ctx.world.gather(mine))
    assert len(there) == ctx.world.size > 1
    time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
    return {**train(ctx), "there": there} if ctx.world.leads else {}


def evaluate(ctx: StepContext) -> dict[str, Any]:
    """Scores that depend on the encoders and, a little, on the digest of the weights."""
    note(ctx, "begin")
    time.sleep(float(os.environ.get("FAKE_SECONDS", "0")) / 4)
    [trained] = ctx.parents.values()
    names = json.loads((trained / "encoders.json").read_text())
    digest = (trained / "weights.txt").read_text()
    gain = sum(GAIN.get(name.split("-")[0], 0.0) for name in names) + 40
    rows: list[dict[str, Any]] = []
    scores: dict[str, dict[str, Any]] = {}
    for task in TASKS:
        values = []
        for image in range(IMAGES):
            seed = hashlib.sha256(f"{task} {image} {digest}".encode()).digest()
            values.append(float(seed[0] / 2.56 < gain))
            row = {"task": task, "id": f"q{image}", "image": f"{image // 2}.png", "question": "?"}
            rows.append({**row, "truth": "", "answer": "", "score": values[-1], "weight": 1.0})
        scores[task] = {"metric": "m", "value": 100 * sum(values) / IMAGES, "n": IMAGES}
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (ctx.work / "answers.jsonl").write_text(text)
    (ctx.work / "data.json").write_text('{"folder": "none"}')
    note(ctx, "end")
    composite = sum(score["value"] for score in scores.values()) / len(scores)
    return {"scores": scores, "composite": composite, "questions": len(rows)}


def passes(ctx: StepContext) -> dict[str, Any]:
    """A preflight that finds nothing; it notes where it ran."""
    note(ctx, "end")
    return {"job": os.environ.get("SLURM_JOB_ID"), "processes": ctx.world.size}


def refuses(ctx: StepContext) -> dict[str, Any]:
    """One that finds a problem of the user's and one of the machine's."""
    write_problems(ctx.work, [Problem("a is amiss", "mend a"), Problem("so is b", "mend b", True)])
    raise UserError("a is amiss")


EXECUTORS = {
    "prealign": "core_fakes:train",
    "pretrain": "core_fakes:train",
    "finetune": "core_fakes:train",
    "evaluate": "core_fakes:evaluate",
}


def die(ctx: StepContext) -> dict[str, Any]:
    """Dies without a word, as a process does that the kernel kills for its memory."""
    os._exit(9)


def die_once(ctx: StepContext) -> dict[str, Any]:
    """Dies in its first attempt."""
    mark = ctx.work / "died"
    if not mark.exists():
        mark.write_text("once")
        os._exit(9)
    return evaluate(ctx)


def exit_with_a_word(ctx: StepContext) -> dict[str, Any]:
    """Ends its process as a library does that gives up."""
    os.write(2, b"out of patience\n")
    os._exit(1)
