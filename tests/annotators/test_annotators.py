"""Experts that speak: they look at pixels, and what they say stands behind images in prompts."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import doc_examples
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.annotators import Annotator, Pixels
from ablate.bake.pages import draw_pages
from ablate.bake.tokenizer import build_tokenizer
from ablate.catalog import annotators
from ablate.catalog.annotators import ANNOTATORS
from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.data_sources import WorldData
from ablate.config.study import load_study
from ablate.cost.checks import check_built
from ablate.data.chat import Chat
from ablate.data.dataset import Conversations
from ablate.data.notes import FILE, Notes, annotated, image_name
from ablate.data.tiles import Tiles
from ablate.errors import UserError
from ablate.search.explore import rounds_so_far
from ablate.store.results import NoResults
from ablate.store.steps import Step, steps_for

SPEAKING = "base.outputs=[micro_ocr, micro_detector]"


def pages(kind: str, count: int) -> tuple[list[Pixels], Any]:
    drawn = draw_pages((kind,), count, Random(5), crowded=0.0, held_out=True)
    return [(255 * page).round().byte().numpy() for page in drawn.pixels], drawn.scenes


@pytest.fixture(scope="module")
def reader() -> Annotator:
    annotator = annotators.build({"name": "micro_ocr"})
    annotator.load("cpu")
    return annotator


def test_the_reader_reads_words_from_pixels(reader: Annotator) -> None:
    images, scenes = pages("text", 20)
    expected = []
    for scene in scenes:
        rows = sorted({row for row, _ in scene.cells})
        word = {
            row: "".join(cell["letter"] for at, cell in scene.cells.items() if at[0] == row)
            for row in rows
        }
        expected.append(" ".join(f"r{row + 1} {word[row]}" for row in rows))
    right = [a == b for a, b in zip(reader.annotate(images), expected, strict=True)]
    assert np.mean(right) > 0.8


def test_the_reader_says_nothing_of_a_page_without_text(reader: Annotator) -> None:
    images, _ = pages("chart", 20)
    assert np.mean([not text for text in reader.annotate(images)]) > 0.8
    assert reader.annotate([np.full((3, 128, 128), 127, dtype=np.uint8)]) == [""]


def test_what_is_said_of_an_image_hangs_on_it_alone(reader: Annotator) -> None:
    images, _ = pages("document", 6)
    assert [reader.annotate([image])[0] for image in images] == list(reader.annotate(images))


def test_the_detector_finds_things_and_counts_their_dots() -> None:
    detector = annotators.build({"name": "micro_detector"})
    detector.load("cpu")
    images, scenes = pages("objects", 20)
    expected = [
        " ".join(
            f"r{row + 1} c{column + 1} thing" + f" {cell['dots']} dots" * ("dots" in cell)
            if "dots" in cell
            else f"r{row + 1} c{column + 1} thing"
            for (row, column), cell in scene.cells.items()
        )
        for scene in scenes
    ]
    right = [a == b for a, b in zip(detector.annotate(images), expected, strict=True)]
    assert np.mean(right) > 0.8


@pytest.mark.parametrize("name", ["micro_ocr", "micro_detector"])
def test_an_annotator_declares_its_weights_its_cost_and_words_its_reader_knows(name: str) -> None:
    annotator = annotators.build({"name": name})
    cost = annotator.cost()
    assert cost is not None
    assert cost.flops > 1e6
    assert cost.parameters > 1e5
    assert json.dumps(dict(annotator.weights()))
    assert annotators.filled({"name": name})["tokens"] == ANNOTATORS.constant(name, "TOKENS", 0)


MISTAKES = {
    "[micro_orc]": "no annotator 'micro_orc'; did you mean 'micro_ocr'?",
    "[{name: micro_ocr, speed: 1}]": "annotator 'micro_ocr' has no option 'speed'; it takes none",
    "[{name: micro_ocr, template: text}]": "a template is a text with {text} in it, got 'text'",
    "[{name: micro_ocr, tokens: few}]": "tokens is a whole number above 0, got 'few'",
    "[micro_ocr, micro_ocr]": "'micro_ocr' is there 2 times",
    "[hf]": "name its model, as in hf:ORGANISATION/NAME",
    "[hf:/nowhere]": "no config.json in '/nowhere'",
    "[{name: micro_ocr, tokens: 5000}]": "leave no room for text in 1024 tokens",
}


@pytest.mark.parametrize("outputs", MISTAKES)
def test_a_mistake_is_one_line_before_anything_starts(outputs: str) -> None:
    with pytest.raises(UserError) as error:
        load_study("micro/smoke", [f"base.outputs={outputs}"])
    assert MISTAKES[outputs] in str(error.value)
    assert "base" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_annotator_of_drawn_pages_is_told_off_photographs() -> None:
    with pytest.raises(UserError, match="understands pages of the drawn world alone, and data"):
        load_study("eagle/rounds", ["base.outputs=[micro_ocr]"])
    study = load_study("micro/smoke", ["base.outputs=[micro_ocr]", "suite=eagle-proxy"])
    with pytest.raises(UserError, match="is about others"):
        candidates_of(study)


def test_a_connector_and_outputs_that_leave_no_room_are_refused() -> None:
    words = ["base.connector={name: resampler2d, queries: 4, heads: 4}"]
    words += ["base.outputs=[{name: micro_ocr, tokens: 1100}]"]
    with pytest.raises(UserError, match="with up to 1100 of its outputs, which leave no room"):
        check_built(rounds_so_far(load_study("micro/smoke", words), NoResults())[0].candidates)


def candidates_of(study: Any) -> list[list[Step]]:
    turns = rounds_so_far(study, NoResults())
    return [steps_for(candidate, study) for candidate in turns[0].candidates]


def test_candidates_share_the_steps_of_their_annotators() -> None:
    chains = candidates_of(load_study("micro/smoke", [SPEAKING]))
    asked = [[step for step in chain if step.kind == "annotate"] for chain in chains]
    assert {len(steps) for steps in asked} == {6}  # each of pairs, conversations and the suite
    assert len({step.key for steps in asked for step in steps}) == 6
    last = chains[0][-1]
    assert set(last.parents) == {"finetune", "annotate:micro_ocr", "annotate:micro_detector"}
    assert set(last.trained_parents) == {"finetune"}


def test_how_a_prompt_shows_it_is_in_the_key_of_what_is_trained_and_of_nothing_that_annotates() -> (
    None
):
    plain = candidates_of(load_study("micro/smoke"))[0]
    by_kind = {}
    for tokens in (20, 30):
        words = [f"base.outputs=[{{name: micro_ocr, tokens: {tokens}}}]"]
        [chain, *_] = candidates_of(load_study("micro/smoke", words))
        by_kind[tokens] = {step.label: step.key for step in chain}
    same = {name for name, key in by_kind[20].items() if by_kind[30][name] == key}
    assert {name.split()[0] for name in same} == {"prealign", "annotate"}
    assert {step.key for step in plain if step.kind == "prealign"} <= {*by_kind[20].values()}
    kinds = {"pretrain", "finetune", "evaluate"}
    others = {step.key for step in plain if step.kind in kinds}
    assert not others & set(by_kind[20].values())


def test_a_stage_with_plain_prompts_shows_nothing_and_is_shared_with_who_has_no_outputs() -> None:
    words = ["base.recipe.pretrain.prompt=plain"]
    plain = candidates_of(load_study("micro/smoke", words))[0]
    speaking = candidates_of(load_study("micro/smoke", [*words, SPEAKING]))[0]

    def stages(chain: Sequence[Step], kind: str) -> set[str]:
        return {step.dirname for step in chain if step.kind == kind}

    assert stages(plain, "pretrain") == stages(speaking, "pretrain")
    assert stages(plain, "finetune") != stages(speaking, "finetune")
    with pytest.raises(UserError, match="the last stage has no prompts for them"):
        load_study("micro/smoke", [SPEAKING, "base.recipe.finetune.prompt=plain"])


TURNS = st.lists(st.sampled_from(["<image>", "\n", "what", " ", "is it"]), max_size=8)


@given(turn=TURNS, notes=st.lists(st.sampled_from(["", "sees", "a b"]), min_size=8, max_size=8))
def test_each_note_stands_behind_its_image_on_lines_of_its_own(
    turn: list[str], notes: list[str]
) -> None:
    text = "".join(turn)
    shown = annotated(text, iter(notes))
    images = text.count("<image>")
    assert shown.count("<image>") == images
    for note, behind in zip(notes, shown.split("<image>")[1:], strict=False):
        if note:
            assert behind.split("\n")[:2] == ["", note]
    if not any(notes[:images]):
        assert shown == text


def write_notes(folder: Path, source: str, texts: dict[str, str]) -> None:
    folder.mkdir()
    rows = ({"set": source, "of": of, "texts": [text]} for of, text in texts.items())
    (folder / FILE).write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def test_what_is_said_is_read_counted_and_not_learnt(tmp_path: Path) -> None:
    source = WorldData(world="conversations", images=4, seed=3)
    chat = Chat(build_tokenizer())

    def conversations(notes: Notes | None = None, max_length: int = 1000) -> Conversations:
        tiles = Tiles.whole(16)
        content = fingerprint(source)
        root = tmp_path / "data"
        return Conversations(
            source, content, chat, root, max_length=max_length, tiles=tiles, notes=notes
        )

    plain = conversations()
    part = plain.parts["conversations"]
    files = [part.index.files(row)[0] for row in range(4)]
    texts = {image_name(file): f"r1 c{n + 1} A 4{n}" for n, file in enumerate(files)}
    texts[image_name(files[3])] = ""
    write_notes(tmp_path / "said", "conversations", texts)
    output = {"of": "annotate:x", "template": "number {text}", "tokens": 6}
    noted = conversations(Notes.of([output], {"annotate:x": tmp_path / "said"}))
    more = noted.lengths - plain.lengths
    assert more.tolist() == [6, 6, 6, 0]  # cut: number r1 c2 A 4 is six, the last digit left out
    for n in range(3):
        before, after = plain[n], noted[n]
        words = build_tokenizer().decode(after.ids[after.ids >= 0])
        assert f"number r1 c{n + 1} A 4" in words
        assert after.learn.sum() == before.learn.sum()
        assert before.ids[before.learn].tolist() == after.ids[after.learn].tolist()
    assert noted[3].ids.tolist() == plain[3].ids.tolist()
    longest = int(noted.lengths.max())
    with pytest.raises(UserError, match="tokens, 16 for images, but only"):
        conversations(Notes.of([output], {"annotate:x": tmp_path / "said"}), longest - 1)


def test_what_a_model_says_marks_no_turn_and_no_image() -> None:
    chat = Chat(build_tokenizer())
    assert chat.cut("<image> what<eot> is <user>it", 20).split() == ["what", "is", "it"]


def test_annotators_are_listed_without_torch() -> None:
    program = (
        "import sys; from ablate.commands.list import annotators;"
        "names = {row['annotator'] for row in annotators()};"
        "assert names >= {'hf', 'micro_ocr', 'micro_detector'}, names;"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_documented_example_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doc_examples.install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    study = load_study("micro/smoke", ["base.outputs=[{name: daylight, above: 100}]"])
    [output] = study.base.outputs
    assert output == {"name": "daylight", "above": 100.0, "template": "Light: {text}", "tokens": 8}
    steps = [step for step in candidates_of(study)[0] if step.kind == "annotate"]
    assert all(step.spec["plugins"]["annotator daylight"]["version"] == "1" for step in steps)
    light = annotators.build(annotators.annotator_of(output))
    white = np.full((3, 8, 8), 255, dtype=np.uint8)
    assert list(light.annotate([white, white // 9])) == ["day", "night"]
