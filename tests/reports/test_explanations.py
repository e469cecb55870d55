"""Where experts look, in a report: which answers are chosen, and how their maps are shown."""

import base64
import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reading import words

from ablate.reports.explanations import BROKEN, FIXED, MOST, WRONG, kind_of, questions
from ablate.reports.model import StudyResult
from ablate.reports.pages.explanations import tinted
from ablate.reports.site import build
from ablate.store.explanations import Explained


def picture() -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (32, 16), "red").save(written, "WEBP")
    return written.getvalue()


def explained(answer: str) -> Explained:
    maps = {"clip-micro@32": [[1.0, -1.0], [0.0, 0.0]], "<b>sam": [[0.0, 6.0]]}
    return Explained("what <i>is</i> it", "a square", answer, picture(), maps)


@pytest.fixture(scope="module")
def subject(greedy: StudyResult) -> StudyResult:
    best = greedy.best
    assert best is not None
    chosen = questions(greedy, best)
    flips = [*chosen[FIXED], *chosen[BROKEN]]
    return dataclasses.replace(
        greedy,
        explained={
            best.name: {key: explained("a circle") for key in [*flips, *chosen[WRONG]]},
            greedy.base.name: {key: explained("<script>") for key in flips},
        },
    )


def test_a_few_of_each_kind_are_chosen_benchmarks_in_turn(greedy: StudyResult) -> None:
    best = greedy.best
    assert best is not None
    chosen = questions(greedy, best)
    assert list(chosen) == [FIXED, BROKEN, WRONG]
    for kind, keys in chosen.items():
        assert 0 < len(keys) <= MOST
        assert {kind_of(greedy, best, key) for key in keys} == {kind}
    tasks = [task for task, _ in chosen[FIXED]]
    assert len(set(tasks)) == min(MOST, len(greedy.scoreboard.tasks))
    assert list(questions(greedy, greedy.base)) == [WRONG]


def test_both_answers_of_a_flip_stand_below_each_other_with_their_maps(
    subject: StudyResult, site: Path, tmp_path: Path
) -> None:
    build(subject, tmp_path / "report")
    text = words(tmp_path / "report" / "explanations.html")
    assert "could not be made" not in text
    best = subject.best
    assert best is not None
    flips = len(subject.explained[subject.base.name])
    assert text.count(f"{best.name}: a circle") == flips
    assert text.count(f"{subject.base.name}: <script>") == flips
    assert text.count("<b>sam, 75 %") == 2 * flips
    assert text.count("what <i>is</i> it") == flips
    place = subject.candidates.index(best) + 1
    alone = words(tmp_path / "report" / "candidates" / f"{place:03d}.html")
    assert alone.count("<b>sam, 75 %") == len(subject.explained[best.name])
    assert "Where it looks" in alone
    assert not (site / "explanations.html").exists()  # of the same study, with nothing explained


def test_a_map_is_red_for_and_blue_against_on_the_scale_of_all() -> None:
    made = re.sub("^data:image/png;base64,", "", tinted(np.array([[2.0, -1.0, 0.0]]), 2.0))
    with Image.open(io.BytesIO(base64.b64decode(made))) as image:
        pixels = np.array(image).astype(int)
    assert pixels.shape == (1, 3, 4)
    red, blue, none = pixels[0]
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert red[3] == 2 * blue[3] > none[3] == 0
