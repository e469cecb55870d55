"""A candidate that is shown what annotators say, where it is scored, talked to or explained."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ablate.catalog import annotators
from ablate.data.chat import Chat, Messages
from ablate.data.images import read_image
from ablate.data.notes import FILE, read
from ablate.evaluate.annotate import annotate
from ablate.evaluate.answerer import Answerer
from ablate.evaluate.dialogue import Dialogue
from ablate.evaluate.explanations import explain
from ablate.evaluate.score import evaluate
from ablate.files import read_json, write_json

ROLE, CHOICE = "annotate:micro_ocr", {"name": "micro_ocr"}
OUTPUT = {"of": ROLE, "annotator": CHOICE, "template": "number {text}", "tokens": 16}


@pytest.fixture
def speaking(candidate: Path, tmp_path: Path) -> Path:
    """The candidate, as if it had been trained with the words of an annotator."""
    folder = shutil.copytree(candidate, tmp_path / candidate.name)
    whole = read_json(folder / "spec.json")
    write_json(folder / "spec.json", {"spec": {**whole["spec"], "outputs": [OUTPUT]}})
    return folder


def test_in_a_conversation_it_is_asked_and_answers_as_in_its_evaluation(
    speaking: Path, step: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[list[int]] = []
    encode = Chat.prompts

    def noted(chat: Chat, talks: Sequence[Messages]) -> Any:
        made = encode(chat, talks)
        prompts.extend(ids.tolist() for ids in made)
        return made

    scored, said = step(), step("micro", "notes")
    said.spec |= {"annotator": CHOICE, "weights": dict(annotators.build(CHOICE).weights())}
    scored.parents, scored.annotated = {"finetune": speaking}, {ROLE: said.work}
    for ctx in said, scored:
        ctx.work.mkdir()
    annotate(said)
    monkeypatch.setattr(Chat, "prompts", noted)
    evaluate(scored)
    evaluated = [*prompts]
    lines = (scored.work / "answers.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    folder = scored.home / "data" / read_json(scored.work / "data.json")["folder"]
    subject = Answerer.load(speaking)
    assert any(text for row in read(said.work / FILE) for text in row["texts"])
    for row in rows[::4]:
        talk, image = Dialogue(subject), folder / row["image"]
        talk.show(read_image(image, subject.own_canvas), subject.note(image))
        answer = talk.say(row["question"])
        assert prompts[-1] in evaluated
        assert answer.startswith(row["answer"])
        assert row["answer"]
    explained = step("micro", "explained")
    explained.work.mkdir()
    explained.spec = {"questions": [[row["task"], row["id"]] for row in rows[:2]]}
    explained.parents = {"finetune": speaking, "evaluate": scored.work}
    talks: list[list[int]] = []
    encode_whole = Chat.encode

    def noted_whole(chat: Chat, given: Sequence[Messages]) -> Any:
        made = encode_whole(chat, given)
        talks.extend(tokens.ids[~tokens.learn].tolist() for tokens in made if len(given) == 1)
        return made

    monkeypatch.setattr(Chat, "encode", noted_whole)
    assert explain(explained) == {"answers": 2}
    assert len(talks) == 2
    assert all(talk in evaluated for talk in talks)
