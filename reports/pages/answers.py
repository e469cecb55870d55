"""The page of answers: the browser's payload, and a plain table of the first questions."""

from collections.abc import Mapping
from typing import Any

from reports.browser import verdict
from reports.pages.common import ABSENT


def answers(data: Mapping[str, Any], most: int = 50) -> dict[str, Any]:
    """The browser of answers: its payload, and a table of the first questions without scripts."""
    shown = sorted({data["a"], data["b"]}) if data["candidates"] else []
    first = [
        {
            "image": one["image"],
            "task": data["tasks"].get(one["task"], one["task"]),
            "question": one["question"],
            "truth": one["truth"],
            "cells": [
                {"answer": cell[0], "verdict": verdict(cell[1])} if cell else {"answer": ABSENT}
                for cell in (one["answers"][index] for index in shown)
            ],
        }
        for one in data["questions"][:most]
    ]
    return {
        "payload": data,
        "total": len(data["questions"]),
        "first": first,
        "shown": [data["candidates"][index] for index in shown],
    }
