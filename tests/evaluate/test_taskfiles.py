"""The task files are made once, follow the folder when it moves, and refuse bad questions."""

import json

import datasets
import pytest
import yaml

from ablate.catalog.suites import TASK_FILES
from ablate.errors import UserError
from ablate.evaluate.taskfiles import materialise, read_questions

ROW = {"id": "1", "image": "images/1.png", "family": "abl_ocr", "question": "q", "answer": "A"}


def folder_of(root, *rows):
    root.mkdir(parents=True)
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (root / "questions.jsonl").write_text("\n".join(lines))
    return root


def test_questions_come_by_task_in_the_order_of_their_ids(tmp_path):
    rows = [{**ROW, "id": "b"}, {**ROW, "id": "a"}, {**ROW, "family": "abl_gqa"}]
    questions = read_questions(folder_of(tmp_path / "data", *rows))
    assert list(questions) == ["abl_gqa", "abl_ocr"]
    assert [row["id"] for row in questions["abl_ocr"]] == ["a", "b"]
    assert questions["abl_gqa"][0]["answers"] == ["A"]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("{", "questions.jsonl:2: not JSON"),
        ("[]", "questions.jsonl:2: a question must be an object"),
        ({**ROW, "answer": 7}, "questions.jsonl:2: answer: a text is needed, not 7"),
        (ROW, "questions.jsonl:2: id: '1' stands there twice"),
    ],
)
def test_a_bad_question_is_named_by_line_and_field(tmp_path, bad, said):
    with pytest.raises(UserError) as caught:
        read_questions(folder_of(tmp_path / "data", ROW, bad))
    assert said in str(caught.value)


def test_task_files_are_made_once(tmp_path):
    data = folder_of(tmp_path / "data", ROW)
    folder = materialise(data)
    made = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert materialise(data) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == made
    left = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert left == [f".{folder.name}.lock"]


def test_task_files_follow_a_folder_that_was_moved(tmp_path):
    materialise(folder_of(tmp_path / "before" / "data", ROW))
    (tmp_path / "before").rename(tmp_path / "after")
    folder = materialise(tmp_path / "after" / "data")
    texts = [(folder / path.name).read_text() for path in TASK_FILES.glob("abl_*.yaml")]
    assert texts
    assert all(str(tmp_path / "after") in text for text in texts)
    assert not any(str(tmp_path / "before") in text for text in texts)


def test_a_task_loads_no_other_questions(tmp_path):
    folder = materialise(folder_of(tmp_path / "data", ROW, {**ROW, "family": "abl_gqa"}))
    for task in ("abl_ocr", "abl_gqa"):
        path = yaml.safe_load((folder / f"{task}.yaml").read_text())["dataset_path"]
        assert list(datasets.load_from_disk(path)) == [task]
