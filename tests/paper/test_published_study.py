"""A study of the paper's shape on toys: fetched, trained through all stages, scored, compared."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmark_toys import save
from hub_toys import COMMIT, ToyHub
from PIL import Image

from ablate.evaluate import suites
from ablate.files import read_json

STUDY = """
title: The paper's arms, small
question: Does the harness take a study of the paper's shape as it takes any other?
base:
  encoders: [clip-toy@64, detector-toy@64]
  fusion: {name: channel_concat, grid: [8, 8]}
  llm: vicuna-toy
  recipe:
    prealign:
      data: talks
      steps: 2
      batch_size: 4
      train: {projector: 1.0e-3, encoders: 1.0e-4}
    pretrain:
      data: pairs
      epochs: 1
      batch_size: 4
      train: {projector: 1.0e-3, fusion: 1.0e-3, encoders: 1.0e-4}
    finetune:
      data: talks
      epochs: 4  # enough to answer in a word, and so to be asked quickly
      batch_size: 4
      group_by_length: true
      train: {projector: 2.0e-3, fusion: 2.0e-3, encoders: 2.0e-4, llm: 2.0e-3}
data:
  pairs:
    conversations: $ABLATE_DATA/pairs/chat.json
    images: $ABLATE_DATA/pairs/images
    rows: 8
    canvas: 128
    origin: someone/pairs
  talks:
    canvas: 128
    mix:
      pictures:
        conversations: $ABLATE_DATA/pictures/chat.json
        images: $ABLATE_DATA/pictures/images
        rows: 10
        max_bad: 1
      words: {conversations: $ABLATE_DATA/words.jsonl, rows: 6, weight: 0.5}
suite: toys.yaml
published: T_released_1p8M
explore:
  kind: arms
  axis: mixture
  arms:
    - {name: sequence append, set: {fusion.name: sequence_append}}
    - {name: channel concat}
    - {name: LLaVA-HR, set: {fusion.name: llava_hr}}
    - {name: Mini-Gemini, set: {fusion.name: mini_gemini}}
    - {name: deformable, set: {fusion.name: deformable}}
    - name: four
      published: Eagle-X4-7B
      set: {encoders: [clip-toy@64, convnext-micro@128, detector-toy@64, pix2struct-micro@128]}
    - name: five
      published: Eagle-X5-7B
      set:
        encoders:
          [clip-toy@64, convnext-micro@128, sam-toy@128, detector-toy@64, pix2struct-micro@128]
    - name: frozen
      set:
        recipe.prealign: null
        recipe.pretrain.train.encoders: null
        recipe.finetune.train.encoders: null
    - name: tiles
      set: {encoders: [clip-toy-tiled@64], recipe.prealign: null}
    - name: a large base
      set: {encoders: [intern-toy@64], recipe.prealign: null}
"""
EXPERTS = {"clip-toy@64", "detector-toy@64", "convnext-micro@128", "pix2struct-micro@128"}
EXPERTS |= {"sam-toy@128"}


def talk(number: int, image: bool) -> dict[str, Any]:
    """A conversation of LLaVA's format."""
    asked = "<image>\n" * image + f"how many circles are there? {'is it so? ' * (number % 3)}"
    said = [{"from": "human", "value": asked}, {"from": "gpt", "value": f"{number % 5}"}]
    row = {"id": f"{number}", "conversations": said}
    return {**row, "image": f"{number % 4}.png"} if image else row


def write_data(folder: Path) -> None:
    """Pairs, talks about pictures (one of them bad) and talks in words alone."""
    for name, rows in ("pairs", 8), ("pictures", 10):
        (folder / name / "images").mkdir(parents=True)
        talks: list[Any] = [talk(number, True) for number in range(rows)]
        if name == "pictures":
            talks[3] = {"id": "3", "image": "nowhere.png", "conversations": []}
        (folder / name / "chat.json").write_text(json.dumps(talks))
        for number in range(4):
            size = (96, 64 + 16 * number)
            Image.new("RGB", size, (60 * number, 9, 99)).save(
                folder / name / "images" / f"{number}.png"
            )
    words = "".join(f"{json.dumps(talk(number, False))}\n" for number in range(6))
    (folder / "words.jsonl").write_text(words)


@pytest.mark.slow
def test_a_study_of_the_papers_shape_runs_to_its_table_beside_the_paper(
    tmp_path: Path, own_home: Path, toy_hub: ToyHub, ablate: Callable[..., Any]
) -> None:
    data = own_home / "datasets"
    eagle = suites.resolve("eagle").tasks
    for task in eagle:
        save(task, data / "benchmarks")
    toys = [task.model_dump(exclude={"questions"}) for task in eagle]  # as few as there are
    (tmp_path / "toys.yaml").write_text(yaml.safe_dump({"title": "toys", "tasks": toys}))
    (tmp_path / "study.yaml").write_text(STUDY)

    def call(command: str, *words: str) -> str:
        answer = ablate(command, str(tmp_path / "study.yaml"), *words)
        assert answer.code == 0, answer.err
        return str(answer.out)

    planned = json.loads(call("plan", "--json"))  # with neither weights nor data
    assert not planned["data"]["talks"]["here"]
    write_data(data)
    call("fetch")
    plan = json.loads(call("plan", "--json"))
    aligned = [step["slug"] for step in plan["steps"] if step["kind"] == "prealign"]
    assert sorted(aligned) == sorted(EXPERTS)  # each once, for whichever arm

    call("run", "--backend", "inline")
    [arms] = json.loads(call("status", "--json"))["rounds"]
    assert {one["name"]: one["failure"] for one in arms["candidates"] if one["failure"]} == {}
    assert {one["state"] for one in arms["candidates"]} == {"done"}

    store = own_home / "store"
    training = [read_json(one) for one in store.glob("[pf]*/*/record.json")]
    for record in training:
        assert record["result"]["weights"]["someone/vicuna"]["config.json"]["revision"] == COMMIT
    bad = [record["result"]["bad_rows"] for record in training if record["kind"] == "finetune"]
    assert all("pictures" in rows for rows in bad)
    assert learning(plan, own_home, "pretrain", "channel concat") == {"encoder", "projector"}
    assert learning(plan, own_home, "finetune", "frozen") == {"projector", "llm"}
    assert learning(plan, own_home, "finetune", "tiles") == {"encoder", "projector", "llm"}

    found = json.loads(call("table", "--against", "paper", "--json"))
    compared = [row for row in found["rows"] if row["delta"] is not None]
    assert {row["candidate"] for row in compared} == {"four", "five"}
    assert len(compared) == 2 * 14  # AI2D is asked and not published, MathVista the reverse
    for row in compared:
        assert row["delta"] == pytest.approx(row["here"] - row["published"], abs=0.11)
        assert row["delta_low"] <= row["delta"] <= row["delta_high"]
    sets = [read_json(one)["result"]["sets"] for one in store.glob("evaluate/*/record.json")]
    assert len(sets) == 10
    assert all(one == sets[0] for one in sets)
    assert len(sets[0]) == 15


def learning(plan: Any, home: Path, kind: str, candidate: str) -> set[str]:
    """The parts of the candidate that learnt in the stage of this kind."""
    [one] = [one for one in plan["candidates"] if one["name"] == candidate]
    [step] = [
        step for step in plan["steps"] if step["kind"] == kind and step["key"] in one["steps"]
    ]
    [table] = (home / "store" / kind).glob(f"*-{step['key'][:12]}/parameters.json")
    return {row["part"].partition("-")[0] for row in read_json(table) if row["trainable"]}
