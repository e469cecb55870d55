"""The page of answers: filters over all questions, and a plain table of the first of them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ablate.reports.browser import Browser, shortened, verdict
from ablate.reports.frame import records
from ablate.reports.page import ReportPage
from ablate.reports.pages.common import ABSENT

FIRST = 50  # questions shown where no script runs


def answers(browser: Browser, images: Mapping[str, str]) -> dict[str, Any]:
    """What stands on the page before its script asks for data. `images`: names by source."""
    names = [run.name for run in browser.runs]
    shown = sorted(set(browser.compared)) if names else []
    order = mixed(browser.questions["task"])[:FIRST]
    first = browser.questions.iloc[order]
    given = [browser.answers(browser.runs[index]) for index in shown]
    rows = [
        {
            "image": images.get(question["source"]),
            "task": browser.study.tasks.get(question["task"], question["task"]),
            "question": shortened(question["question"]),
            "truth": shortened(question["truth"]),
            "cells": [_cell(*answers_of_run[row]) for answers_of_run in given],
        }
        for row, question in zip(order, records(first), strict=True)
    ]
    return {
        "held": len(browser.questions),
        "asked": len(browser.every),
        "rows": rows,
        "shown": [names[index] for index in shown],
    }


def mixed(tasks: pd.Series) -> list[int]:
    """Places of all tasks in turn, so that no task fills the first page; each task begins elsewhere
    in its order, so that not all are about one image.
    """
    groups = tasks.groupby(tasks, sort=False)
    size = groups.transform("size")
    begin = groups.ngroup() * size // max(groups.ngroups, 1)
    turns = (groups.cumcount() - begin) % size
    return [int(row) for row in np.argsort(turns.to_numpy(), kind="stable")]


def _cell(answer: str, score: float | None) -> dict[str, str]:
    if score is None:
        return {"answer": ABSENT, "verdict": ""}
    return {"answer": shortened(answer), "verdict": verdict(score)}


PAGE = ReportPage("Answers", lambda source: answers(source.browser, source.images), 50)
