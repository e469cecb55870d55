"""The page of answers: filters over all questions, and a plain table of the first of them."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ablate.reports.browser import Browser, shortened, verdict
from ablate.reports.frame import records
from ablate.reports.pages.common import ABSENT

FIRST = 50  # questions shown where no script runs


def answers(browser: Browser, images: Mapping[str, str]) -> dict[str, Any]:
    """What stands on the page before its script asks for data. `images`: names by source."""
    names = [run.name for run in browser.runs]
    shown = sorted(set(browser.compared)) if names else []
    first = browser.questions.iloc[:FIRST]
    given = [browser.answers(browser.runs[index]).iloc[:FIRST] for index in shown]
    rows = [
        {
            "image": images.get(question["source"]),
            "task": browser.study.tasks.get(question["task"], question["task"]),
            "question": shortened(question["question"]),
            "truth": shortened(question["truth"]),
            "cells": [_cell(one.iloc[place]) for one in given],
        }
        for place, question in enumerate(records(first))
    ]
    return {
        "held": len(browser.questions),
        "asked": len(browser.every),
        "rows": rows,
        "shown": [names[index] for index in shown],
    }


def _cell(given: pd.Series) -> dict[str, str]:
    if pd.isna(given["score"]):
        return {"answer": ABSENT, "verdict": ""}
    return {"answer": shortened(given["answer"]), "verdict": verdict(float(given["score"]))}
