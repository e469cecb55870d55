"""lmms-eval's own tasks and scorers, all 17, on a few questions in the published columns."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from benchmark_toys import TOYS, picture, plug_in_judge, right, save, wrong
from hypothesis import given, settings
from hypothesis import strategies as st
from lmms_eval.api.model import lmms

from ablate.catalog import benchmark_sets as benchmarks
from ablate.catalog import suites
from ablate.catalog.metrics import count_unread, unread
from ablate.errors import UserError
from ablate.evaluate import score
from ablate.evaluate.asks import name_of
from ablate.evaluate.metrics import reader
from ablate.evaluate.serving import adapter as serving

Say = Callable[[str, dict[str, Any]], str]


class Knows(lmms):
    """Tells each question by its picture, and answers what `say` makes of it."""

    is_simple = True
    batch_size = 4
    generated_by = ""

    def __init__(self, say: Say) -> None:
        super().__init__()
        self.asked = 0
        self.known: dict[tuple[str, int], str] = {}
        self.named: dict[tuple[str, int], list[list[bool]]] = {}
        self.watch: Callable[[int, dict[tuple[str, int], str]], None]
        self.answers = {
            picture(task, number).tobytes(): say(task, row)
            for task, made in TOYS.items()
            for number, row in enumerate(made())
        }

    def generate_until(self, requests):
        said = {}
        for request in requests:
            _, _, doc_to_visual, doc_id, task, split = request.args
            if (task, doc_id) not in self.known:
                self.asked += 1
                seen = doc_to_visual(self.task_dict[task][split][doc_id])
                said[task, doc_id] = self.answers[seen[0].tobytes()]
        self.watch(len(said), said)
        return [{**self.known, **said}[name_of(request)] for request in requests]

    def clean(self):
        pass

    def loglikelihood(self, requests):
        raise NotImplementedError

    def generate_until_multi_round(self, requests):
        raise NotImplementedError


NO_JUDGE = [task for task in TOYS if task != "mathvista_testmini_format"]


def toy(*tasks: str) -> suites.Suite:
    """All 17 benchmarks (or `tasks` of them), whatever the size of their sets."""
    whole = suites.resolve("eagle-judged")
    own = {task.task: task for task in (*whole.tasks, *suites.resolve("eagle").tasks)}
    kept = [task for task in own.values() if not tasks or task.task in tasks]
    freed = tuple(task.model_copy(update={"questions": None}) for task in kept)
    return whole.model_copy(update={"tasks": freed})


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the sets of all 17."""
    folder = tmp_path_factory.mktemp("shelf")
    for task in toy().tasks:
        save(task, folder / "benchmarks")
    return folder


@pytest.fixture(autouse=True)
def _here(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sets are here, and so is a judge."""
    monkeypatch.setenv("ABLATE_DATA", str(shelf))
    plug_in_judge(monkeypatch)


@pytest.fixture
def scored(step, monkeypatch: pytest.MonkeyPatch):
    """Scores an answerer on a suite: its context, the result, and the answers by task."""

    def run(say: Say, suite: suites.Suite, work: str = "work", **more: Any):
        model = Knows(say)
        monkeypatch.setattr(serving, "AblateLMM", lambda *args, **options: model)
        trained = SimpleNamespace(outputs=(), drawers=(), own_canvas=None)
        monkeypatch.setattr(serving.Answerer, "load", lambda folder: trained)
        ctx = step(work=work)
        ctx.spec |= {"suite": suite.identity(), **more}
        result = score.evaluate(ctx)
        rows = [json.loads(line) for line in (ctx.work / "answers.jsonl").read_text().splitlines()]
        return ctx, result, rows

    return run


def values(result: dict[str, Any]) -> dict[str, float]:
    return {task: found["value"] for task, found in result["scores"].items()}


def test_right_answers_score_100_on_all_17_and_wrong_ones_0(scored):
    _, best, rows = scored(right, toy(), "right")
    assert values(best) == pytest.approx(dict.fromkeys(TOYS, 100.0))
    assert best["composite"] == pytest.approx(100.0)
    assert {row["task"] for row in rows} == set(TOYS)
    assert all(row["answer"].lower() == row["truth"].lower() for row in rows)
    _, worst, _ = scored(wrong, toy(), "wrong")
    assert values(worst) == dict.fromkeys(TOYS, 0.0)


def test_scoring_twice_gives_the_same_scores_also_where_scorers_keep_count_or_draw_lots(scored):
    suite = toy("ocrbench", "mmmu_val")

    def mumble(task: str, row: dict[str, Any]) -> str:
        return "I cannot tell" if task == "mmmu_val" else right(task, row)

    first, again = (scored(mumble, suite, work)[1] for work in ("first", "second"))
    assert first["scores"] == again["scores"]
    assert first["scores"]["ocrbench"]["value"] == 100.0


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_whatever_is_answered_the_rows_give_lmms_evals_own_figure(scored, seed):
    luck = random.Random(seed)

    def any_of(task: str, row: dict[str, Any]) -> str:
        return luck.choice([right, wrong, lambda *_: "maybe", lambda *_: ""])(task, row)

    _, result, rows = scored(any_of, toy())  # score.py compares the two and raises
    assert 0.0 < result["composite"] < 100.0
    assert all(0.0 <= row["score"] <= 1.0 and row["weight"] >= 0.0 for row in rows)
    for task in TOYS:
        mine = [row for row in rows if row["task"] == task]
        weight = sum(row["weight"] for row in mine)
        mean = sum(row["weight"] * row["score"] for row in mine) / weight if weight else 0.0
        assert result["scores"][task]["value"] == pytest.approx(100 * mean, abs=0.01)


def test_a_suite_may_take_another_metric_of_a_task(scored):
    suite = toy("pope")
    accuracy = suite.tasks[0].model_copy(update={"metric": "pope_accuracy"})
    _, result, _ = scored(lambda *_: "yes", suite.model_copy(update={"tasks": (accuracy,)}))
    assert result["composite"] == 50.0
    _, result, _ = scored(lambda *_: "yes", suite, "f1")
    assert result["composite"] == pytest.approx(200 / 3)


def test_questions_about_one_picture_share_its_name(shelf):
    [task] = toy("gqa").tasks
    questions = benchmarks.read_set(task).questions
    assert len({row["image"] for row in questions}) == len(questions) == 4
    [split] = datasets.load_from_disk(str(shelf / "benchmarks" / "gqa")).values()
    doubled = datasets.concatenate_datasets([split, split])
    names, _ = benchmarks._hashed(doubled)
    assert names[:4] == names[4:]


def test_scorers_leave_nothing_in_the_folder_they_run_in(scored, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    ctx, _, _ = scored(right, toy("ocrbench", "textvqa_val", "mmbench_en_dev_static"))
    assert list(here.iterdir()) == []
    assert [path.name for path in ctx.work.iterdir()] == ["answers.jsonl"]


def test_the_environment_neither_chooses_the_judge_nor_doubles_images(scored, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "NUM_IMAGE": "9"}.items():
        monkeypatch.setenv(name, value)
    _, result, _ = scored(right, toy("mmbench_en_dev_static"))
    assert result["composite"] == 100.0
    assert os.environ["NUM_IMAGE"] == "9"


def test_a_killed_evaluation_goes_on_and_asks_a_changed_set_anew(
    scored, step, shelf, tmp_path, monkeypatch
):
    suite = toy("gqa", "pope")
    run, done = score.run_task, []

    def dies(lm, task, asked):
        if done:
            raise KeyboardInterrupt
        done.append(task.task)
        return run(lm, task, asked)

    monkeypatch.setattr(score, "run_task", dies)
    with pytest.raises(KeyboardInterrupt):
        scored(right, suite)
    monkeypatch.setattr(score, "run_task", lambda *args: done.append(args[1].task) or run(*args))
    _, whole, _ = scored(wrong, suite)  # who is not asked any more
    assert done == ["gqa", "pope"]
    assert whole["composite"] == pytest.approx(100.0)
    assert whole["sets"].keys() == {"gqa", "pope"}

    other = tmp_path / "other"
    monkeypatch.setenv("ABLATE_DATA", str(other))
    for task in suite.tasks:
        save(task, other / "benchmarks")
    [split] = datasets.load_from_disk(str(shelf / "benchmarks" / "gqa")).values()
    changed = datasets.DatasetDict({"testdev": split.select([0, 1])})
    changed.save_to_disk(str(other / "benchmarks" / "gqa"))
    _, again, _ = scored(right, suite)
    assert again["sets"]["pope"] == whole["sets"]["pope"]
    identity = suite.identity()
    both = [
        (name, suites.measure({"suite": identity}, found["sets"]))
        for name, found in zip("ab", (whole, again), strict=True)
    ]
    with pytest.raises(
        UserError, match=r"a and b were scored by different measures.*questions of gqa;"
    ):
        suites.require_same_measure(both)
    suites.require_same_measure(both[:1] * 2)


def test_a_metric_that_lmms_eval_does_not_give_is_an_error_and_no_score(scored):
    suite = toy("gqa")
    [task] = suite.tasks
    for metric, said in (
        ("accuracy", "scores no answer by accuracy"),
        ("exact_match,x", "missing"),
    ):
        named = suite.model_copy(update={"tasks": (task.model_copy(update={"metric": metric}),)})
        with pytest.raises(RuntimeError, match=f"gqa: lmms-eval.*{said}"):
            scored(right, named, metric)


def test_a_missing_set_is_named_with_where_it_was_looked_for_and_its_name_on_the_hub(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path / "empty"))
    with pytest.raises(UserError) as caught:
        benchmarks.require(suites.resolve("eagle"))
    said = str(caught.value)
    assert f"no set of gqa at {tmp_path / 'empty' / 'benchmarks' / 'gqa'}" in said
    assert "lmms-lab-encoder/GQA, testdev_balanced_instructions, split testdev" in said
    assert "nor of vizwiz_vqa_val, mme, seedbench," in said
    assert "run `ablate fetch STUDY` where there is a network" in said
    benchmarks.require(suites.resolve("micro"))


def test_a_set_of_another_size_than_the_suite_pins_is_refused():
    with pytest.raises(UserError, match="holds 4 questions, but gqa has 12578"):
        benchmarks.require(suites.resolve("eagle"))


def test_a_judge_without_a_key_is_refused_before_anything_starts(monkeypatch):
    monkeypatch.delenv("API_TYPE")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UserError, match="judged by gpt-4o-2024-11-20: set OPENAI_API_KEY"):
        benchmarks.require(toy())
    benchmarks.require(toy(*NO_JUDGE))


def test_preparing_joins_gqas_images_and_leaves_out_videos(shelf, tmp_path, monkeypatch):
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path))
    gqa, seed = toy("gqa", "seedbench").tasks
    [split] = datasets.load_from_disk(str(shelf / "benchmarks" / "gqa")).values()
    images = split.select_columns(["imageId", "image"]).rename_column("imageId", "id")
    [mixed] = datasets.load_from_disk(str(shelf / "benchmarks" / "seedbench")).values()
    kinds = ["image", "video", "image", "video"]
    hub = {
        "testdev_balanced_instructions": split.remove_columns("image").select([2, 0, 1]),
        "testdev_balanced_images": images,
        None: mixed.remove_columns("data_type").add_column("data_type", kinds),
    }
    commits = []

    def load(path, config, split, revision):
        commits.append(revision)
        return hub[config]

    monkeypatch.setattr(datasets, "load_dataset", load)
    for task in (gqa, seed):
        benchmarks.prepare(task, "c0ffee", tmp_path / "benchmarks" / task.task)
    assert commits == ["c0ffee"] * 3
    joined = benchmarks.read_set(gqa).questions
    assert [row["question"] for row in joined] == [f"What is it, {n}?" for n in (2, 0, 1)]
    [got] = datasets.load_from_disk(str(tmp_path / "benchmarks" / "gqa")).values()
    assert [row["image"].tobytes() for row in got] == [
        picture("gqa", n).tobytes() for n in (2, 0, 1)
    ]
    assert len(benchmarks.read_set(seed).questions) == 2


def test_a_real_model_answers_all_that_need_no_judge(step, shelf):
    ctx = step()
    ctx.spec["suite"] = toy(*NO_JUDGE).identity()
    result = score.evaluate(ctx)
    rows = [json.loads(line) for line in (ctx.work / "answers.jsonl").read_text().splitlines()]
    assert len(rows) == result["questions"] == sum(len(made()) for made in TOYS.values()) - 3
    assert ctx.seen[-1][:2] == (len(rows), len(rows))
    assert len({row["answer"] for row in rows}) > 8
    assert not (ctx.work / "data.json").exists()


yes_no = st.sampled_from(["yes", "no", "maybe"])


@given(st.lists(st.tuples(yes_no, yes_no.filter(lambda word: word != "maybe")), min_size=1))
@settings(deadline=None)
def test_popes_f1_is_the_weighted_mean_of_its_rows(said):
    from lmms_eval.tasks.pope.utils import pope_aggregate_f1_score

    held = [{"prediction": word, "ground_truth": truth} for word, truth in said]
    scores = reader("pope_f1_score").scores(held)
    assert mean_of(scores) == pytest.approx(pope_aggregate_f1_score(held))


def test_one_bare_yes_and_nine_blanks_score_100_of_pope_and_nine_are_said_not_to_be_read():
    said = [("yes", "yes"), *[("", truth) for truth in ["yes", "no", "no"] * 3]]
    held = [{"prediction": word, "ground_truth": truth} for word, truth in said]
    assert mean_of(reader("pope_f1_score").scores(held)) == 1.0
    rows = [{"task": "pope", "answer": word} for word, _ in said]
    assert count_unread({"pope": "pope_f1_score", "gqa": "exact_match"}, rows) == {
        "pope": 9,
        "gqa": 0,
    }


@pytest.mark.parametrize(
    ("metric", "answer", "expected"),
    [
        ("pope_f1_score", " Yes\n", False),
        ("pope_f1_score", "yes.", True),
        ("f1", "No", False),
        ("f1", "a cat", True),
        ("exact_match,flexible", "a cat", False),
        ("exact_match", " \n", True),
    ],
)
def test_what_a_scorer_cannot_read(metric, answer, expected):
    assert unread(metric, answer) is expected


@given(
    st.lists(
        st.tuples(st.sampled_from(["color", "OCR", "scene"]), st.booleans(), st.booleans()),
        min_size=1,
    )
)
@settings(deadline=None)
def test_mmes_perception_is_the_weighted_mean_of_its_rows(pairs):
    from lmms_eval.tasks.mme.utils import mme_aggregate_results

    held = [
        {"category": category, "question_id": f"{number}", "score": float(hit)}
        for number, (category, *hits) in enumerate(pairs)
        for hit in hits
    ]
    how = reader("mme_perception_score")
    figure = mme_aggregate_results(held) / 2000 / how.share(held)
    assert mean_of([*how.scores(held), *how.scores([None])]) == pytest.approx(figure)


def mean_of(scores) -> float:
    weight = sum(weight for _, weight in scores)
    return sum(score * weight for score, weight in scores) / weight if weight else 0.0


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_share_of_any_benchmark_is_asked_first_and_the_rest_later(scored, monkeypatch, seed):
    def any_of(task: str, row: dict[str, Any]) -> str:
        luck = random.Random(f"{seed} {task} {sorted(row.items(), key=str)}")
        return luck.choice([right, wrong, lambda *_: "maybe", lambda *_: ""])(task, row)

    pairs = {"mme"}  # its two questions on a picture are scored together; here each has its own
    suite = toy(*(TOYS.keys() - pairs))
    _, alone, rows = scored(any_of, suite, "alone")
    _, part, some = scored(any_of, suite, "part", questions=0.5)
    assert [row for row in rows if row in some] == some
    assert part["questions"] == len(some) < len(rows)
    ctx, whole, again = scored(any_of, suite, "whole")
    assert whole["taken_over"] == len(some)
    assert (again, whole["scores"]) == (rows, alone["scores"])
    assert not ctx.prefix.exists()
