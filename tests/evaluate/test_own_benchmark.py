"""Conversations of a user's own become a benchmark: asked turn by turn, scored, told by content."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ablate.catalog import suites
from ablate.catalog.metrics import option_letter, unread
from ablate.catalog.own_benchmarks import METRICS as NAMES
from ablate.catalog.own_benchmarks import OwnBenchmark
from ablate.config.study import load_study
from ablate.data.questions import prepare_own_questions, read_own_questions
from ablate.design import Candidate
from ablate.errors import UserError
from ablate.evaluate.own_task.metrics import METRICS
from ablate.evaluate.score import evaluate
from ablate.files import read_json
from ablate.preflight.scorers import check_scorers
from ablate.store.steps import steps_for


def talk(image: str | list[str] | None, *turns: str) -> dict[str, Any]:
    speakers = ["human", "gpt"] * len(turns)
    said = [{"from": who, "value": text} for who, text in zip(speakers, turns, strict=False)]
    return {"id": "a row", "conversations": said} | ({"image": image} if image else {})


def own(folder: Path, *rows: Any, metric: str = "exact_match", **more: Any) -> suites.Suite:
    """A suite of these rows, with three pictures to speak of."""
    (folder / "img").mkdir(parents=True, exist_ok=True)
    for n, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (128, 128), colour).save(folder / "img" / f"{n}.png")
    (folder / "eval.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    fields = {"conversations": folder / "eval.jsonl", "images": folder / "img", "metric": metric}
    return suites.with_own(None, (("mine", OwnBenchmark(**fields, **more)),))


ROWS = (
    talk("0.png", "<image>\nwhat colour", "red", "is it red", "yes"),
    talk("1.png", "what colour\n<image>", "green"),
    talk(None, "two and two", "4"),
)


@pytest.fixture
def scored(step: Callable[..., Any], tmp_path: Path) -> Callable[[suites.Suite], Any]:
    """Evaluates a suite of one's own; gives the context, its result and its rows."""

    def run(suite: suites.Suite) -> tuple[Any, dict[str, Any], list[dict[str, Any]]]:
        ctx = step()
        ctx.work.mkdir(exist_ok=True)
        ctx.spec["suite"] = json.loads(json.dumps(suite.identity()))
        result = evaluate(ctx)
        lines = (ctx.work / "answers.jsonl").read_text().splitlines()
        return ctx, result, [json.loads(line) for line in lines]

    return run


def test_each_turn_is_a_question_with_the_rows_image_and_a_score(scored, tmp_path):
    ctx, result, rows = scored(own(tmp_path, *ROWS, metric="f1", max_new_tokens=3))
    assert [(row["question"], row["truth"]) for row in rows] == [
        ("what colour", "red"),
        ("is it red", "yes"),
        ("what colour", "green"),
        ("two and two", "4"),
    ]
    assert [row["score"] for row in rows] == [
        METRICS["token_f1"](row["answer"], row["truth"]) for row in rows
    ]
    assert result["scores"]["mine"]["metric"] == "token_f1"
    assert result["composite"] == pytest.approx(25 * sum(row["score"] for row in rows))
    data = ctx.home / "data" / read_json(ctx.work / "data.json")["folder"]
    shown = [Image.open(data / row["image"]).getpixel((0, 0)) for row in rows[:3]]
    assert shown == [(255, 0, 0), (255, 0, 0), (0, 128, 0)]
    assert result["sets"] == {"mine": own(tmp_path, *ROWS).tasks[0].own.fingerprint()}


def test_it_stands_beside_a_suite_that_is_drawn(scored, step, tmp_path):
    mine = own(tmp_path, *ROWS).tasks[0]
    drawn = suites.from_identity(step().spec["suite"])
    both = drawn.model_copy(update={"name": "both", "tasks": (*drawn.tasks[:2], mine)})
    ctx, result, rows = scored(both)
    assert list(result["scores"]) == [task.task for task in both.tasks]
    data = ctx.home / "data" / read_json(ctx.work / "data.json")["folder"]
    assert all((data / row["image"]).is_file() for row in rows if row["task"] != "mine")


def test_embedded_images_are_asked_about_too(scored, tmp_path):
    own(tmp_path)
    content = (tmp_path / "img" / "2.png").read_bytes()
    rows = datasets.Dataset.from_list([{**talk(None, "<image>\nwhat", "blue"), "image": content}])
    rows.to_parquet(str(tmp_path / "eval.parquet"))
    benchmark = OwnBenchmark(conversations=tmp_path / "eval.parquet", metric="contains")
    ctx, _, [row] = scored(suites.with_own(None, (("mine", benchmark),)))
    assert (ctx.home / "data" / row["image"]).read_bytes() == content


def test_its_key_and_measure_hold_the_content_and_not_the_place(tmp_path):
    def key(suite: suites.Suite) -> tuple[str, Any]:
        study = load_study("micro/smoke")
        [design] = study.designs
        whole = Candidate(**dict(design), name="one", point="one", round=1, seed=0)
        study = study.model_copy(
            update={
                "suite": None,
                "benchmarks": {
                    "mine": OwnBenchmark(
                        conversations=suite.tasks[0].own.conversations,
                        images=suite.tasks[0].own.images,
                        metric="contains",
                    )
                },
            }
        )
        last = steps_for(whole, study)[-1]
        return last.key, suites.measure(last.spec, {})

    here = key(own(tmp_path / "here", *ROWS))
    shutil.copytree(tmp_path / "here", tmp_path / "there", copy_function=shutil.copyfile)
    there = own(tmp_path / "there", *ROWS)
    assert key(there) == here
    other = own(tmp_path / "other", *ROWS[:2])
    assert key(other)[0] != here[0]
    with pytest.raises(UserError, match="different measures"):
        suites.require_same_measure([("a", here[1]), ("b", key(other)[1])])


WRONG = [
    ([], {}, "eval.jsonl: there is no question in it"),
    (
        [talk("0.png", "<image>\nwhat")],
        {},
        "eval.jsonl:1 (id 'a row'): human and gpt must take turns",
    ),
    ([talk("0.png", "<image>\nwhat", " ")], {}, "eval.jsonl:1 (id 'a row'): no answer to '<image>"),
    ([ROWS[0], talk("none.png", "<image>", "a")], {}, "eval.jsonl:2 (id 'a row'): no image at"),
    ([talk("eval.png", "<image>", "a")], {}, "cannot be read as an image: of no known format"),
    ([ROWS[0]], {"metric": "choice"}, "needs the letter of an option, and the answer is 'red'"),
    ([talk("0.png", "<image>x", "?!")], {"metric": "f1"}, "needs words, and the answer is '?!'"),
    ([ROWS[0]], {"questions": 5}, "2 questions, but it declares 5 (questions)"),
    (["text"], {}, "a row must be an object, not str"),
]


@pytest.mark.parametrize(("rows", "more", "said"), WRONG)
def test_what_cannot_be_asked_is_told_before_training_with_file_and_row(
    step, tmp_path, rows, more, said
):
    suite = own(tmp_path, *rows, **more)
    (tmp_path / "img" / "eval.png").write_text("no picture")
    ctx = step()
    ctx.spec["suite"] = json.loads(json.dumps(suite.identity()))
    [problem] = check_scorers(ctx)
    assert said in str(problem)
    assert not problem.broken


def test_what_can_be_asked_passes_the_preflight(step, tmp_path):
    choices = [talk("0.png", "<image>\nA. cat\nB. dog", "B"), talk("1.png", "<image>", "(A) cat")]
    for metric in NAMES:
        ctx = step()
        ctx.spec["suite"] = own(tmp_path, *choices, metric=metric).identity()
        assert list(check_scorers(ctx)) == [], metric


def test_a_study_names_its_own_benchmarks_in_a_line(tmp_path):
    own(tmp_path, *ROWS)
    fields = "{conversations: eval.jsonl, images: img, metric: anls, title: Mine}"
    text = f"extends: micro/smoke\ntitle: t\nbenchmarks:\n  mine: {fields}\n"
    (tmp_path / "study.yaml").write_text(text)
    asked = load_study(str(tmp_path / "study.yaml")).asks
    assert asked.name == "micro-smoke+mine"
    assert [task.title for task in asked.own] == ["Mine"]
    assert asked.own[0].own.images == tmp_path / "img"
    alone = load_study(str(tmp_path / "study.yaml"), ["suite=null"]).asks
    assert [task.task for task in alone.tasks] == ["mine"]
    for change, said in {
        "benchmarks.mine.metric=contain": "no metric 'contain' of one's own; did you mean",
        "benchmarks.mine.images=imgs": "benchmarks.mine.images: nothing at",
        "benchmarks.mine.metrics=f1": "unknown key; did you mean 'metric'?",
        f"benchmarks.abl_gqa={fields}": "benchmarks: suite micro-smoke has a task 'abl_gqa', too",
    }.items():
        with pytest.raises(UserError) as caught:
            load_study(str(tmp_path / "study.yaml"), [change])
        assert said in str(caught.value)
    with pytest.raises(UserError, match="name a suite, or give the study `benchmarks`"):
        load_study("micro/smoke", ["suite=null"])


def test_the_page_of_the_documentation_shows_a_study_and_rows_that_are_asked(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "benchmark.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"```(yaml|json)\n(.*?)```", page, re.DOTALL))
    own(tmp_path)
    (tmp_path / "img").rename(tmp_path / "forms")
    shutil.copyfile(tmp_path / "forms" / "0.png", tmp_path / "forms" / "7.png")
    (tmp_path / "forms.jsonl").write_text(json.dumps(json.loads(blocks["json"])))
    (tmp_path / "study.yaml").write_text(blocks["yaml"])
    [task] = load_study(str(tmp_path / "study.yaml")).asks.own
    folder = prepare_own_questions(task, lambda answer: None, tmp_path / "data")
    asked = [(row["question"], row["answer"]) for row in read_own_questions(folder)]
    assert asked == [("what is the total", "42"), ("is it signed", "yes")]


@given(st.text())
def test_every_metric_gives_the_truth_its_due_and_nothing_beyond_one(text):
    for metric in METRICS.values():
        assert 0 <= metric(text, text) <= 1
    if text.strip():
        assert METRICS["exact_match"](text, text) == 1


@pytest.mark.parametrize(
    ("metric", "answer", "truth", "score"),
    [
        ("contains", "It is a Red car.", "red", 1),
        ("contains", "I do not know", "no", 0),
        ("contains", "red", "red car", 0),
        ("choice", "(B) a dog", "B", 1),
        ("choice", "The answer is C.", "C. three", 1),
        ("choice", "b", "B", 1),
        ("choice", "A dog is there", "A", 0),
        ("token_f1", "a red car", "red car", 0.8),
        ("token_f1", "", "red", 0),
        ("relaxed_accuracy", "104", "100", 1),
        ("anls", "recd", "red", 0.75),
    ],
)
def test_a_metric_scores_as_it_is_published(metric, answer, truth, score):
    assert METRICS[metric](answer, truth) == pytest.approx(score)


def test_an_answer_that_names_no_option_was_not_read():
    assert unread("choice", "a dog")
    assert not unread("choice", "B")
    assert not unread("token_f1", "neither yes nor no")
    assert option_letter("I'm not sure") is None
