"""Writes a split of the micro world as files: LLaVA conversations, or questions of a test.

Training splits and the test share neither a handwritten digit nor a stream of random scenes.
"""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from ablate.catalog.world_version import TEST_QUESTIONS
from ablate.data.world.draw import draw_scene
from ablate.data.world.questions import (
    CAPTION_PROMPT,
    FAMILIES,
    Question,
    ask,
    caption,
    dialogue,
)
from ablate.data.world.scenes import Scene, sample_scene
from ablate.errors import UserError, nearest
from ablate.files import write_atomic

TRAIN_CYCLE = ("objects", "document", "objects", "text", "objects", "chart", "objects", "text")
TEST_CYCLE = ("objects",) * 5 + ("chart", "document", "text")  # every family equally often
TURNS = 3  # questions of a conversation, after its caption

Row = dict[str, Any]


def build_split(split: str, images: int, seed: int, folder: Path) -> None:
    """Draw `images` images of a split into `folder/images`, and its rows beside them.

    split: "pairs" and "conversations" give `conversations.jsonl` in LLaVA's format (a caption an
    image, and in the latter up to 3 questions); "preferences" gives a question an image there, with
    its answer and a wrong one that is `rejected`; "test" gives `questions.jsonl`, 4 questions an
    image, each row with "id", "image", "family", "question", "answer". A test is balanced over the
    families if `images` is a multiple of 8.
    Raises UserError for another split or fewer images than one.
    """
    if split not in _ROWS:
        raise UserError(f"micro world: unknown split '{split}'{nearest(split, _ROWS)}")
    if images < 1:
        raise UserError(f"micro world: {split} needs at least 1 image, not {images}")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    cycle = TEST_CYCLE if split == "test" else TRAIN_CYCLE
    for index in range(images):
        rng = Random(f"{split} {seed} {index}")
        scene = sample_scene(cycle[index % len(cycle)], rng)
        name = f"{index:06d}.png"
        picture = draw_scene(scene, rng, held_out=split == "test")
        picture.image.save(folder / "images" / name, compress_level=1)
        lines += [json.dumps(row) for row in _ROWS[split](scene, rng, index, f"images/{name}")]
    file = "questions.jsonl" if split == "test" else "conversations.jsonl"
    write_atomic(folder / file, "".join(f"{line}\n" for line in lines))


def _pair(scene: Scene, rng: Random, index: int, image: str) -> list[Row]:
    return [_llava(index, image, [(CAPTION_PROMPT, caption(scene))])]


def _conversation(scene: Scene, rng: Random, index: int, image: str) -> list[Row]:
    """A caption, then questions. From questions alone a new projector hardly learns.

    A caption after the questions leaves no answer to be read in it, but was seen to score worse.
    """
    asked = [(turn.question, turn.answer) for turn in dialogue(scene, rng, TURNS)]
    return [_llava(index, image, [(CAPTION_PROMPT, caption(scene)), *asked])]


def _preference(scene: Scene, rng: Random, index: int, image: str) -> list[Row]:
    """A question; what is worse than its answer is one of the same family about another scene."""
    asked = dialogue(scene, rng, 1)[0]
    wrong = asked.answer
    while wrong == asked.answer:
        wrong = ask(sample_scene(scene.kind, rng), asked.family, rng)[0].answer
    row = _llava(index, image, [(asked.question, asked.answer)])
    return [{**row, "rejected": wrong}]


def _llava(index: int, image: str, turns: list[tuple[str, str]]) -> Row:
    messages = []
    for question, answer in turns:
        messages += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    messages[0]["value"] = "<image>\n" + messages[0]["value"]
    return {"id": f"{index:06d}", "image": image, "conversations": messages}


def _test(scene: Scene, rng: Random, index: int, image: str) -> list[Row]:
    """Four questions: of each family but one in turn, or all of the one family the kind has."""
    families = [family for family, kind in FAMILIES.items() if kind == scene.kind]
    asked: list[Question] = []
    if len(families) > 1:
        left_out = (index + index // len(TEST_CYCLE)) % len(families)
        for family in families[:left_out] + families[left_out + 1 :]:
            asked += ask(scene, family, rng)
    else:
        asked = ask(scene, families[0], rng, TEST_QUESTIONS)
    return [
        {
            "id": f"{index:06d}-{number}",
            "image": image,
            "family": question.family,
            "question": question.question,
            "answer": question.answer,
        }
        for number, question in enumerate(asked)
    ]


_ROWS: dict[str, Callable[[Scene, Random, int, str], list[Row]]] = {
    "pairs": _pair,
    "conversations": _conversation,
    "preferences": _preference,
    "test": _test,
}
