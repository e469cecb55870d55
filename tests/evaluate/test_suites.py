"""A suite is pinned: what moves a score moves its identity, and nothing else does."""

import importlib.metadata

import pytest

from ablate.catalog import published, suites
from ablate.errors import UserError


def test_the_micro_suite_asks_the_eight_families():
    suite = suites.resolve("micro")
    assert len({task.task for task in suite.tasks}) == 8
    assert {task.task: task.metric for task in suite.tasks}["abl_pope"] == "pope_accuracy"
    assert suite.data.images * 4 >= 1000


def test_the_blind_suite_differs_by_the_blank_alone():
    seeing, blind = (suites.resolve(name).identity() for name in ("micro", "micro-blind"))
    assert {key for key in seeing if seeing[key] != blind[key]} == {"name", "blank"}
    assert blind["blank"] is True


def test_the_identity_pins_lmms_eval_and_the_task_files():
    identity = suites.resolve("micro").identity()
    assert identity["lmms_eval"] == importlib.metadata.version("lmms_eval")
    assert len(identity["task_files"]) == 64
    assert "fingerprint" in identity["data"]


def test_a_suite_says_how_many_questions_it_asks_if_each_task_does():
    micro, eagle = suites.resolve("micro"), suites.resolve("eagle")
    assert micro.questions == 4 * 400
    assert eagle.questions == sum(task.questions for task in eagle.tasks)
    silent = eagle.tasks[0].model_copy(update={"questions": None})
    assert eagle.model_copy(update={"tasks": (silent, *eagle.tasks[1:])}).questions is None


def test_titles_are_not_part_of_the_identity():
    suite = suites.resolve("micro")
    task = suite.tasks[0].model_copy(update={"title": "Another"})
    renamed = suite.model_copy(update={"tasks": (task, *suite.tasks[1:]), "title": "Another"})
    assert renamed.identity() == suite.identity()


def test_a_suite_comes_back_from_its_identity():
    identity = suites.resolve("micro-blind").identity()
    assert suites.from_identity(identity).identity() == identity


def test_an_unknown_suite_names_the_nearest():
    with pytest.raises(UserError, match="no suite 'mikro'; did you mean 'micro'"):
        suites.resolve("mikro")


def test_every_suite_resolves():
    assert {"micro", "micro-blind"} <= set(suites.names())
    for name in suites.names():
        assert suites.resolve(name).title


def test_the_suite_of_the_main_results_pins_fifteen_benchmarks_without_a_judge_or_their_sets():
    main = suites.resolve("eagle-main")
    assert len(main.tasks) == 15
    assert not any(task.judge for task in main.tasks)
    assert all(task.questions and task.file and task.benchmark for task in main.tasks)
    judged = suites.resolve("eagle-judged")
    extra = {task.task for task in judged.tasks} - {task.task for task in main.tasks}
    assert extra == {"mathvista_testmini_format"}
    proxy = suites.resolve("eagle-proxy")
    assert len(proxy.tasks) < len(main.tasks)
    assert all(task in main.tasks for task in proxy.tasks)
    sizes = [sum(task.questions or 0 for task in suite.tasks) for suite in (proxy, main)]
    assert sizes[0] < sizes[1] / 10


def test_the_suite_of_the_ablations_asks_what_the_papers_average_is_over():
    """A tenth of it: MME's perception of 2,000 counts by half, OCRBench is of 1,000 as it is."""
    eagle, main = suites.resolve("eagle"), suites.resolve("eagle-main")
    columns = published.book().columns
    averaged = {columns[name].benchmark for name in columns["Avg"].mean_of}
    assert {task.benchmark for task in eagle.tasks} == averaged
    assert len(eagle.tasks) == 11
    assert eagle.questions == 57_223
    assert [task.task for task in eagle.tasks if task not in main.tasks] == ["realworldqa"]
    percent = {task.benchmark: task.to_percent for task in eagle.tasks}
    assert 10 * percent.pop("MME") == 0.5
    assert set(percent.values()) == {100.0}


def test_a_metric_is_looked_up_with_its_filter():
    metrics = {task.task: task.result for task in suites.resolve("eagle").tasks}
    assert metrics["ai2d"] == "exact_match,flexible-extract"
    assert metrics["gqa"] == "exact_match,none"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: eagle\ntasks: [gqa, poope]", "no 'poope' below; did you mean 'pope'?"),
        ("tasks: [{task: mine, metric: m}]", "mine: give the suite `data`"),
        ("extends: micro\ntasks: [{task: gqa, metric: m, file: gqa/gqa}]", "gqa: give the suite"),
        ("extends: micro\nblank: perhaps", "blank: "),
        ("- a list", "a suite is a mapping"),
        ("extends: [", "cannot be read"),
    ],
)
def test_a_mistake_in_a_suite_of_ones_own_is_one_line(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        suites.resolve(str(path))
    assert said in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_a_suite_of_ones_own_picks_tasks_of_the_one_it_extends(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: eagle\ntasks: [pope, gqa]\n")
    mine = suites.resolve(suites.absolute("mine.yaml", tmp_path))
    assert (mine.name, [task.task for task in mine.tasks]) == ("mine", ["pope", "gqa"])
    assert mine.tasks[1] == suites.resolve("eagle").tasks[0]


def test_composites_over_different_tasks_are_not_compared():
    eagle, proxy = (suites.resolve(name) for name in ("eagle", "eagle-proxy"))
    one, other = (suites.measure({"suite": suite.identity()}, {}) for suite in (eagle, proxy))
    with pytest.raises(UserError, match=r"a and b were scored by different measures.*same tasks"):
        suites.require_same_measure([("a", one), ("b", other)])
    renamed = eagle.model_copy(update={"name": "another"}).identity()
    suites.require_same_measure([("a", one), ("b", suites.measure({"suite": renamed}, {}))])


def test_a_share_of_the_questions_is_another_measure():
    spec = {"suite": suites.resolve("micro").identity()}
    some = {**spec, "questions": 0.25}
    measures = [("a", suites.measure(spec, {})), ("b", suites.measure(some, {}))]
    with pytest.raises(UserError, match="not the same share of the questions;"):
        suites.require_same_measure(measures)
    suites.require_same_measure(measures[1:] * 2)
