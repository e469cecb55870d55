"""A suite is pinned: what moves a score moves its identity, and nothing else does."""

import importlib.metadata

import pytest

from ablate.errors import UserError
from ablate.evaluate import suites


def test_the_micro_suite_asks_the_eight_families():
    suite = suites.resolve("micro")
    assert len({task.task for task in suite.tasks}) == 8
    assert {task.task: task.metric for task in suite.tasks}["abl_pope"] == "f1"
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
