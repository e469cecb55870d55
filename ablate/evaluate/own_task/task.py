"""What lmms-eval calls of a user's own benchmark. It loads this file anew for each reference."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from ablate.evaluate.own_task.metrics import METRICS

Document = Mapping[str, Any]


def doc_to_text(doc: Document, lmms_eval_specific_kwargs: Any = None) -> str:
    """The question, as it stands."""
    return str(doc["question"])


def doc_to_visual(doc: Document) -> list[Image.Image]:
    """The images, opened but not yet decoded: one that was seen before need not be."""
    return [Image.open(path) for path in doc["images"]]


def score(doc: Document, results: Sequence[str]) -> dict[str, float]:
    """By the benchmark's metric; of one that another package reads, whether it is the truth."""
    metric = doc["metric"] if doc["metric"] in METRICS else "exact_match"
    return {metric: METRICS[metric](results[0], doc["answer"])}
