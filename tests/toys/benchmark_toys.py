"""A few questions of each published benchmark, in the columns its dataset has on the hub.

Every question has its own picture, so that an answerer may know it by that.
"""

import importlib
import random
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from ablate.catalog.benchmark_sets import hub
from ablate.catalog.suites import SuiteTask
from ablate.data.world.metrics import levenshtein

Row = dict[str, Any]


def picture(task: str, number: int) -> Image.Image:
    """A 32x32 picture no other question has."""
    return Image.frombytes("RGB", (32, 32), random.Random(f"{task} {number}").randbytes(3072))


def gqa() -> list[Row]:
    answers = ("red", "table", "no", "left")
    return [
        {"id": f"2000{n}", "imageId": f"n{n}", "question": f"What is it, {n}?", "answer": answer}
        | {"fullAnswer": f"It is {answer}.", "isBalanced": True}
        for n, answer in enumerate(answers)
    ]


def vqav2_val() -> list[Row]:
    return [
        {
            "question": f"How many, {n}?",
            "question_id": n,
            "image_id": n // 2,
            "answer_type": "number",
        }
        | {"question_type": "how many", "multiple_choice_answer": str(n)}
        | {
            "answers": [
                {"answer": str(n), "answer_confidence": "yes", "answer_id": i} for i in range(10)
            ]
        }
        for n in range(4)
    ]


def vizwiz_vqa_val() -> list[Row]:
    answers = ("unanswerable", "soup", "blue", "milk")
    return [
        {
            "question_id": f"VizWiz_val_{n:08d}",
            "question": "what is this?",
            "answers": [answer] * 10,
        }
        | {"category": "other"}
        for n, answer in enumerate(answers)
    ]


def ocrbench() -> list[Row]:
    kinds = (
        ("IIIT5K", "Regular Text Recognition", ["CENTRE"]),
        ("HME100k", "Handwritten Mathematical Expression Recognition", ["x ^ { 2 } + 1"]),
        ("FUNSD", "Key Information Extraction", ["12/03/1998"]),
        ("docVQA", "Doc-oriented VQA", ["the board", "board"]),
    )
    return [
        {
            "dataset": name,
            "question": f"what is written, {n}?",
            "question_type": kind,
            "answer": texts,
        }
        for n, (name, kind, texts) in enumerate(kinds)
    ]


def textvqa_val() -> list[Row]:
    return [
        {
            "image_id": f"i{n}",
            "question_id": n,
            "question": f"what brand, {n}?",
            "answers": [word] * 10,
        }
        | {"question_tokens": ["what"], "ocr_tokens": [word], "set_name": "val"}
        for n, word in enumerate(("nokia", "dakota", "stop", "30"))
    ]


def chartqa() -> list[Row]:
    cells = (
        ("human_test", "14"),
        ("human_test", "Yes"),
        ("augmented_test", "0.57"),
        ("augmented_test", "Spain"),
    )
    return [
        {"type": kind, "question": f"What is the value, {n}?", "answer": answer}
        for n, (kind, answer) in enumerate(cells)
    ]


def docvqa_val() -> list[Row]:
    return [
        {"questionId": str(n), "question": f"What is the date, {n}?", "question_types": ["form"]}
        | {"docId": n, "ucsf_document_id": f"u{n}", "ucsf_document_page_no": "1"}
        | {"answers": [date, date.upper()], "data_split": "val"}
        for n, date in enumerate(("1/8/93", "may 1970", "1998", "july"))
    ]


def infovqa_val() -> list[Row]:
    return [
        {"questionId": str(n), "question": f"What share, {n}?", "answers": [share], "ocr": "[]"}
        | {"answer_type": ["single span"], "image_url": "", "data_split": "val"}
        | {"operation/reasoning": []}
        for n, share in enumerate(("64%", "twitter", "3", "canada"))
    ]


def ai2d() -> list[Row]:
    return [
        {
            "question": f"Which letter, {n}?",
            "options": ["moon", "sun", "earth", "mars"],
            "answer": str(n),
        }
        for n in range(4)
    ]


def mme() -> list[Row]:
    places = (
        ("existence", "a.jpg"),
        ("existence", "b.jpg"),
        ("OCR", "c.jpg"),
        ("code_reasoning", "d.png"),
    )
    return [
        {"question_id": f"{category}/{name}", "category": category, "answer": answer}
        | {"question": f"Is {name} {answer}? Please answer yes or no."}
        for category, name in places
        for answer in ("Yes", "No")
    ]


def mmbench_en_dev_static() -> list[Row]:
    """Two questions, the first asked in two orders of its options."""
    asked = ((1, "A", "cat", "dog"), (1_000_001, "B", "dog", "cat"), (2, "B", "boat", "car"))
    return [
        {"index": index, "question": "What is shown?", "hint": "nan", "answer": answer}
        | {"A": first, "B": second, "C": "nan", "D": "nan", "comment": "nan", "split": "dev"}
        | {"category": "identity_reasoning", "L2-category": "attribute_reasoning", "source": "coco"}
        for index, answer, first, second in asked
    ]


def seedbench() -> list[Row]:
    return [
        {
            "question": f"How many, {n}?",
            "question_id": str(n),
            "question_type_id": 5,
            "answer": letter,
        }
        | {f"choice_{name}": name for name in "abcd"}
        | {"data_id": [f"{n}"], "data_type": "image", "segment": None}
        for n, letter in enumerate("ABCD")
    ]


def mathvista_testmini_format() -> list[Row]:
    asked = (
        ("multi_choice", "text", ["yes", "no"], "no", None),
        ("free_form", "integer", [], "145", None),
        ("free_form", "float", [], "1.2", 1),
    )
    return [
        {"pid": str(n), "question": f"Question {n}", "query": f"Question: {n}", "choices": choices}
        | {"question_type": kind, "answer_type": form, "answer": answer, "precision": precision}
        | {"unit": "", "image": f"images/{n}.jpg", "metadata": _metadata()}
        for n, (kind, form, choices, answer, precision) in enumerate(asked)
    ]


def _metadata() -> Row:
    words = ("category", "context", "grade", "language", "source", "split", "task")
    return {
        **dict.fromkeys(words, "a"),
        "img_height": 32,
        "img_width": 32,
        "skills": ["statistics"],
    }


def mmmu_val() -> list[Row]:
    options = "['fern', 'moss', 'pine', 'rose']"
    asked = (
        ("Biology_1", "multiple-choice", options, "<image 1> Which plant?", "B"),
        ("Biology_2", "multiple-choice", options, "Between <image 1> and <image 2>?", "D"),
        ("Math_3", "open", "[]", "<image 1> What is the area?", "24"),
    )
    return [
        {"id": f"validation_{name}", "question": text, "options": choices, "answer": answer}
        | {"question_type": kind, "explanation": "", "img_type": "['Plots']", "subfield": "a"}
        | {"topic_difficulty": "Easy"}
        for name, kind, choices, text, answer in asked
    ]


def scienceqa_img() -> list[Row]:
    return [
        {
            "question": f"Which is it, {n}?",
            "choices": ["iron", "wood", "glass"],
            "answer": n,
            "hint": hint,
        }
        | dict.fromkeys(("task", "grade", "subject", "topic", "category", "skill", "lecture"), "a")
        | {"solution": ""}
        for n, hint in enumerate(("", "Look at the picture.", ""))
    ]


def pope() -> list[Row]:
    return [
        {"id": str(n), "question_id": str(n), "question": f"Is there a dog, {n}?", "answer": answer}
        | {"image_source": f"COCO_val2014_{n:012d}", "category": "adversarial"}
        for n, answer in enumerate(("yes", "no", "yes", "no"))
    ]


def realworldqa() -> list[Row]:
    """Two questions with options, two without."""
    return [
        {"question": f"Which lane, {n}? Please answer directly.", "answer": answer}
        | {"image_path": f"{n}.webp"}
        for n, answer in enumerate(("A", "C", "3", "Yes"))
    ]


TOYS: Mapping[str, Callable[[], list[Row]]] = {
    made.__name__: made
    for made in (
        gqa, vqav2_val, vizwiz_vqa_val, ocrbench, textvqa_val, chartqa, docvqa_val, infovqa_val,
        ai2d, mme, mmbench_en_dev_static, seedbench, mathvista_testmini_format, mmmu_val,
        scienceqa_img, pope, realworldqa,
    )
}  # fmt: skip


def save(
    task: SuiteTask, root: Path, questions: int | None = None, pictured: str | None = None
) -> None:
    """The first `questions` of the toy set of the task below `root`, as `ablate` looks for it.

    `pictured`: the task whose pictures they show, by default its own.
    """
    rows = TOYS[task.task]()[:questions]
    for number, row in enumerate(rows):
        row |= _pictures(task.task, row, picture(pictured or task.task, number))
    features = datasets.Dataset.from_list(rows).features
    if task.task == "mmmu_val":  # a column of which every cell is empty has no type of its own
        features |= {f"image_{number}": datasets.Image() for number in range(1, 8)}
    split = datasets.Dataset.from_list(rows, features=datasets.Features(features))
    datasets.DatasetDict({hub(task).split: split}).save_to_disk(str(root / task.task))


def _pictures(task: str, row: Row, seen: Image.Image) -> Row:
    match task:
        case "seedbench":
            return {"image": [seen]}
        case "mathvista_testmini_format":
            return {"decoded_image": seen}
        case "mmmu_val":
            shown = {n: seen if f"<image {n}>" in row["question"] else None for n in range(1, 8)}
            return {f"image_{n}": image for n, image in shown.items()}
    return {"image": seen}


def right(task: str, row: Row) -> str:
    """An answer that the task's scorer takes for right."""
    match task:
        case "ai2d":
            return "ABCD"[int(row["answer"])]
        case "scienceqa_img":
            return "ABC"[row["answer"]]
        case "mme":
            return str(row["answer"]).lower()
    found = row["answer"] if "answer" in row else row["answers"]
    found = found[0] if isinstance(found, list) else found
    return str(found["answer"] if isinstance(found, dict) else found)


def wrong(task: str, row: Row) -> str:
    """An answer that it takes for wrong, and can read."""
    truth = right(task, row)
    others = {"yes": "no", "no": "yes", "A": "B", "B": "A", "C": "A", "D": "A"}
    return others.get(truth, "zebra")


def plug_in_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the judge of MathVista, which needs no key: lmms-eval's dummy, which reads nothing."""
    monkeypatch.setenv("API_TYPE", "dummy")
    try:
        importlib.import_module("Levenshtein")
    except ImportError:
        stand_in = types.ModuleType("Levenshtein")
        stand_in.distance = levenshtein  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "Levenshtein", stand_in)
