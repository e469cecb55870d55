"""What can be browsed of the answers: the questions in pieces, the images encoded anew."""

import dataclasses
from pathlib import Path

import pytest
from opened import piece
from PIL import Image

from ablate.reports.browser import LARGEST, LONGEST, READABLE, TEXT, Browser, encode
from ablate.reports.model import StudyResult
from ablate.reports.site import build
from ablate.store.answers import Answers


def test_the_answers_are_data_the_page_can_read(site: Path, greedy: StudyResult) -> None:
    data = piece(site, "questions")
    assert len(data["id"]) == len(data["question"]) == data["asked"] == 320
    assert data["candidates"][data["a"]] == greedy.base.name
    assert greedy.best is not None
    assert data["candidates"][data["b"]] == greedy.best.name
    assert len(data["candidates"]) == 9
    assert all((site / "images" / name).is_file() for name in data["image"])
    for number, one in enumerate((one for one in greedy.candidates if one.composite), start=1):
        given = piece(site, f"answers/{number}")
        assert given["score"] == one.answers["score"].tolist()
        assert given["answer"] == one.answers["answer"].tolist()


def test_of_too_many_questions_the_report_holds_an_even_part_and_says_so(
    brief: StudyResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.reports.browser.MOST", 100)
    build(brief, tmp_path / "report")
    data = piece(tmp_path / "report", "questions")
    assert len(data["id"]) == 80
    assert set(data["task"]) == set(brief.tasks)
    text = (tmp_path / "report" / "answers.html").read_text(encoding="utf-8")
    assert "80 of 320 held-out questions" in text
    assert len(list((tmp_path / "report" / "images").iterdir())) <= 40


def test_images_are_encoded_anew(site: Path, greedy: StudyResult) -> None:
    made = sorted((site / "images").iterdir())
    assert len(made) == 40
    for path in made:
        with Image.open(path) as image:
            assert (image.format, image.size) == ("WEBP", (128, 128))
            assert image.info.get("exif") is None


def test_an_image_with_text_to_read_keeps_more_pixels(greedy: StudyResult, tmp_path: Path) -> None:
    for name in ("page", "photo"):
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.new("RGB", (3000, 1500), "teal" if name == "page" else "navy").save(
            tmp_path / "set" / f"{name}.png"
        )
    one = greedy.base
    rows = tuple(
        {**row, "image": "page.png" if greedy.families[row["task"]] == TEXT else "photo.png"}
        for row in one.rows
    )
    turn = dataclasses.replace(
        greedy.rounds[0],
        candidates=(dataclasses.replace(one, runs=(Answers.of(rows),), images=tmp_path / "set"),),
    )
    names = encode(Browser(dataclasses.replace(greedy, rounds=(turn,))), tmp_path / "made")
    widths = {}
    for source, name in names.items():
        with Image.open(tmp_path / "made" / name) as image:
            widths[Path(source).stem] = image.width
    assert widths == {"page": READABLE, "photo": LARGEST}


def test_an_image_is_there_once_however_many_names_it_has(
    greedy: StudyResult, tmp_path: Path
) -> None:
    for number in range(3):
        path = tmp_path / "set" / "images" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "teal").save(path)
    one = greedy.base
    rows = tuple(
        {**row, "image": f"images/{number % 3}.png"} for number, row in enumerate(one.rows)
    )
    copies = dataclasses.replace(one, runs=(Answers.of(rows),), images=tmp_path / "set")
    turn = dataclasses.replace(greedy.rounds[0], candidates=(copies,))
    browser = Browser(dataclasses.replace(greedy, rounds=(turn,)))
    names = encode(browser, tmp_path / "made")
    assert len(names) == 3
    assert len(set(names.values())) == len(list((tmp_path / "made").iterdir())) == 1


@pytest.mark.parametrize("path", ["../secret.png", "missing.png", "text.png", "/etc/passwd", "\0"])
def test_what_is_no_image_of_the_set_is_left_out(
    greedy: StudyResult, tmp_path: Path, path: str
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "text.png").write_text("no image")
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    one = greedy.base
    spoiled = dataclasses.replace(
        one,
        runs=(Answers.of([{**row, "image": path} for row in one.rows]),),
        images=tmp_path / "set",
    )
    turn = dataclasses.replace(greedy.rounds[0], candidates=(spoiled,))
    assert encode(Browser(dataclasses.replace(greedy, rounds=(turn,))), tmp_path / "made") == {}


def test_a_long_text_is_cut_and_says_how_long_it_is(greedy: StudyResult, tmp_path: Path) -> None:
    one = greedy.base
    wordy = dataclasses.replace(
        one, runs=(Answers.of([{**row, "answer": "x" * 10**6} for row in one.rows[:3]]),)
    )
    turn = dataclasses.replace(greedy.rounds[0], candidates=(wordy,))
    build(dataclasses.replace(greedy, rounds=(turn,)), tmp_path / "report")
    [first, *_] = piece(tmp_path / "report", "answers/1")["answer"]
    assert first == f"{'x' * LONGEST} … (1,000,000 characters)"
