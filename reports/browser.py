"""The browser of answers: its questions as data for the page, and its images re-encoded small."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from reports.model import CandidateResult, StudyResult

LARGEST = 512  # pixels of a side; the browser shows images small
MOST = 5000  # questions a page holds; the published benchmarks have 50 times as many


def payload(study: StudyResult, images: Mapping[str, str]) -> dict[str, Any]:
    """What `answers.js` reads: tasks, candidates, and each question with everyone's answer.

    Of more than `MOST` questions every k-th is kept; `asked` is how many there are. `a` and `b` are
    the candidates compared at first: the base and the best one. An answer is `[text, score]`, or
    null where the candidate was not asked.
    """
    scored = [one for one in study.candidates if one.rows]
    questions: dict[tuple[str, str], dict[str, Any]] = {}
    for index, one in enumerate(scored):
        for row in one.answers.itertuples(index=False):
            question = questions.setdefault(
                (str(row.task), str(row.id)),
                {
                    "task": row.task,
                    "id": row.id,
                    "image": images.get(str(row.image)),
                    "question": row.question,
                    "truth": row.truth,
                    "answers": [None] * len(scored),
                },
            )
            question["answers"][index] = [row.answer, round(float(str(row.score)), 4)]
    kept = sorted(questions)[:: -(-len(questions) // MOST) or 1]
    return {
        "tasks": dict(study.tasks),
        "candidates": [one.name for one in scored],
        "questions": [questions[key] for key in kept],
        "asked": len(questions),
        **_compared(study, scored),
    }


def _compared(study: StudyResult, scored: Sequence[CandidateResult]) -> dict[str, int]:
    """Whom to compare at first: the base, and the best or else the last winner or anyone."""
    first = study.base if study.base in scored else next(iter(scored), None)
    wanted = [study.best, *reversed(study.winners), *scored]
    second = next((one for one in wanted if one in scored and one is not first), first)
    return {
        "a": scored.index(first) if first else 0,
        "b": scored.index(second) if second else 0,
    }


def verdict(score: float) -> str:
    """An answer's score in a word: right, partly or wrong."""
    return "right" if score >= 1 else "partly" if score > 0 else "wrong"


def images(study: StudyResult, folder: Path) -> dict[str, str]:
    """Re-encode every image that was asked about into `folder`; its file name by its path.

    Pixels only: nothing else of the original file goes into the report. One that is missing or
    cannot be read is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, str] = {}
    for one in study.candidates:
        for path in sorted(set(one.answers["image"]) - names.keys()):
            if name := _encode(one, path, folder):
                names[path] = name
    return names


def _encode(candidate: CandidateResult, path: str, folder: Path) -> str | None:
    if candidate.images is None:
        return None
    name = f"{hashlib.sha256(path.encode()).hexdigest()[:12]}.webp"
    try:
        source = (candidate.images / path).resolve()
        if not source.is_relative_to(candidate.images.resolve()):
            return None
        with Image.open(source) as image:
            small = image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):  # no path, no file, or no image
        return None
    small.thumbnail((LARGEST, LARGEST))
    small.save(folder / name, "WEBP", quality=82, method=4)
    return name
