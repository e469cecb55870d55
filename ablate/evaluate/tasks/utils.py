"""What the task files call. lmms-eval loads this file anew for each reference: keep it light.

It runs from the folder `taskfiles.materialise` made, which lies beside the data it asks about.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ablate.data.world.metrics import anls, exact_match, relaxed_accuracy

Document = Mapping[str, Any]


def doc_to_text(doc: Document, lmms_eval_specific_kwargs: Any = None) -> str:
    """The question, as it stands."""
    return str(doc["question"])


def doc_to_visual(doc: Document) -> list[Image.Image]:
    """The image, opened but not yet decoded: one that was seen before need not be."""
    return [Image.open(Path(__file__).absolute().parents[1] / doc["data"] / doc["image"])]


def exact(doc: Document, results: Sequence[str]) -> dict[str, float]:
    """Exact match with any of the accepted answers."""
    return {"exact_match": _best(exact_match, doc, results)}


def levenshtein(doc: Document, results: Sequence[str]) -> dict[str, float]:
    """ANLS, the average normalised Levenshtein similarity of DocVQA."""
    return {"anls": anls(results[0], doc["answers"])}


def relaxed(doc: Document, results: Sequence[str]) -> dict[str, float]:
    """ChartQA's relaxed accuracy: numbers within 5 %, anything else exactly."""
    return {"relaxed_accuracy": _best(relaxed_accuracy, doc, results)}


def yes_no(doc: Document, results: Sequence[str]) -> dict[str, Any]:
    """POPE. F1 of "yes" as a weighted mean: 2 for a hit, 1 for a false or missed yes, else 0.

    An answer that is neither yes nor no counts as not saying yes (lmms-eval's own `pope` leaves it
    out of the recall, so that a model may raise its F1 by mumbling).
    """
    yes, said = (exact_match(answer, "yes") for answer in (doc["answer"], results[0]))
    part = {"score": float(yes == said), "weight": yes + said}
    return {"f1": part, "pope_accuracy": _best(exact_match, doc, results)}


def weighted_mean(rows: Sequence[Mapping[str, float]]) -> float:
    """sum(weight * score) / sum(weight), and 0 where there is no weight."""
    total = sum(row["weight"] for row in rows)
    return sum(row["weight"] * row["score"] for row in rows) / total if total else 0.0


def _best(metric: Callable[[str, str], float], doc: Document, results: Sequence[str]) -> float:
    return max(metric(results[0], truth) for truth in doc["answers"])
