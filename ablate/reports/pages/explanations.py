"""The page of explanations: answers that flip against the base, and where the experts of both look.

A picture and the maps over it stand in the page itself, small; so a report in one file has them.
"""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ablate.reports.browser import shortened
from ablate.reports.explanations import BROKEN, FIXED, MOST, RIGHT, WRONG, kind_of
from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.page import ReportPage
from ablate.reports.pages.common import path_of
from ablate.store.answers import Key
from ablate.store.explanations import Explained

FOR, AGAINST = (178, 24, 43), (33, 102, 172)
"""The colours (RGB) of what speaks for an answer, and against it."""
STRONGEST = 200
"""The opacity, of 255, of the largest contribution."""
KINDS = {
    FIXED: "Fixed: the base is wrong, it is right",
    BROKEN: "Broken: the base is right, it is wrong",
    WRONG: "Wrong",
    RIGHT: "Right",
}


def explanations(study: StudyResult) -> dict[str, Any]:
    """A part for each candidate whose flips were explained, with the base's answers beside."""
    parts = [
        {"name": candidate.name, "page": path_of(study, candidate), "answers": answers}
        for candidate in study.candidates
        if candidate is not study.base
        and (answers := _answers(study, candidate, [study.base, candidate], (FIXED, BROKEN)))
    ]
    return {"parts": parts, "most": MOST}


def explained_answers(study: StudyResult, candidate: CandidateResult) -> list[dict[str, Any]]:
    """All answers of a candidate that were explained, for its own page."""
    return _answers(study, candidate, [candidate], tuple(KINDS))


def _answers(
    study: StudyResult,
    candidate: CandidateResult,
    rows: Sequence[CandidateResult],
    kinds: Sequence[str],
) -> list[dict[str, Any]]:
    """Those of the candidate's explained answers that are of these kinds, kind by kind."""
    explained = study.explained.get(candidate.name, {})
    of_kind = {key: kind_of(study, candidate, key) for key in explained}
    return [
        _shown(study, key, kind, rows)
        for kind in kinds
        for key in explained
        if of_kind[key] == kind
    ]


def _shown(
    study: StudyResult, key: Key, kind: str, candidates: Sequence[CandidateResult]
) -> dict[str, Any]:
    known = [
        (candidate, answer)
        for candidate in candidates
        if (answer := study.explained.get(candidate.name, {}).get(key))
    ]
    answer = known[-1][1]
    return {
        "kind": KINDS[kind],
        "task": study.tasks.get(key[0], key[0]),
        "id": key[1],
        "question": shortened(answer.question),
        "truth": shortened(answer.truth),
        "rows": [_row(candidate.name, given) for candidate, given in known],
    }


def _row(name: str, answer: Explained) -> dict[str, Any]:
    """A candidate's answer, what it saw, and by expert a map on the one scale of all of them."""
    maps = {title: np.array(values, dtype=np.float64) for title, values in answer.maps.items()}
    sizes = {title: float(np.abs(values).sum()) for title, values in maps.items()}
    total = sum(sizes.values()) or 1.0
    most = max((float(np.abs(values).max()) for values in maps.values()), default=0.0) or 1.0
    with Image.open(io.BytesIO(answer.picture)) as picture:
        width, height = picture.size
    return {
        "name": name,
        "answer": shortened(answer.answer),
        "picture": _data_uri("webp", answer.picture),
        "width": width,
        "height": height,
        "experts": [
            {
                "title": title,
                "share": f"{100 * sizes[title] / total:.0f}",
                "map": tinted(map_, most),
            }
            for title, map_ in maps.items()
        ],
    }


def tinted(values: Any, most: float) -> str:
    """A map (H,W) as a PNG of one pixel a cell: red for, blue against, the stronger the fuller."""
    pixels = np.zeros((*values.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where(values[..., None] > 0, FOR, AGAINST)
    pixels[..., 3] = np.round(STRONGEST * np.abs(values) / most)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return _data_uri("png", written.getvalue())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _flips_explained(study: StudyResult) -> bool:
    return any(
        name != study.base.name and any(answers) for name, answers in study.explained.items()
    )


PAGE = ReportPage(
    "Where they look", lambda source: explanations(source.study), 46, _flips_explained
)
