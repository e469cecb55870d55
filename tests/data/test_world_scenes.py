"""What the micro world promises about scenes and questions."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.data.world.questions import FAMILIES, ask, caption, dialogue
from ablate.data.world.scenes import GRID, KINDS, outermost, sample_scene

SEEDS = st.integers(0, 2**32)


@given(seed=SEEDS, kind=st.sampled_from(KINDS))
def test_scene_is_a_function_of_its_seed_and_stays_on_the_grid(seed: int, kind: str) -> None:
    scene = sample_scene(kind, Random(seed))
    assert scene == sample_scene(kind, Random(seed))
    assert list(scene.cells) == sorted(scene.cells)
    assert all(0 <= row < GRID and 0 <= column < GRID for row, column in scene.cells)


@given(seed=SEEDS)
def test_things_have_colours_of_their_own_and_one_lies_outermost(seed: int) -> None:
    scene = sample_scene("objects", Random(seed))
    colours = [cell["colour"] for cell in scene.cells.values()]
    assert len(set(colours)) == len(colours)
    for direction, (row, column) in outermost(scene).items():
        others = set(scene.cells) - {(row, column)}
        if direction == "leftmost":
            assert all(column < other for _, other in others)
        if direction == "lowest":
            assert all(row > other for other, _ in others)
    assert outermost(scene)


@given(seed=SEEDS, family=st.sampled_from(sorted(FAMILIES)))
def test_questions_differ_and_their_answers_are_in_the_scene(seed: int, family: str) -> None:
    rng = Random(seed)
    scene = sample_scene(FAMILIES[family], rng)
    asked = ask(scene, family, rng, 4)
    assert len({question.question for question in asked}) == len(asked)
    said = caption(scene).replace(" ", "")
    counts = {"four", "five", "six"}
    for question in asked:
        assert not question.question.endswith("?")
        if family == "abl_ocr":
            row = question.question.split()[-1]
            cells = [cell for place, cell in scene.cells.items() if f"r{place[0] + 1}" == row]
            assert question.answer == "".join(cell["letter"] for cell in cells)
        elif family != "abl_pope":
            assert question.answer in said or question.answer in counts


def test_yes_and_no_are_equally_frequent_and_true() -> None:
    rng, answers = Random(0), Counter()
    for _ in range(600):
        scene = sample_scene("objects", rng)
        (question,) = ask(scene, "abl_pope", rng)
        *_, noun, _, colour = question.question.split()
        cell = {c["colour"]: c for c in scene.cells.values()}.get(colour)
        words = set(question.question.split()) & {"solid", "striped", "dotted", "checked"}
        if noun != "thing":
            words.add(noun)
        assert (question.answer == "yes") == (cell is not None and words <= set(cell.values()))
        answers[question.answer] += 1
    assert abs(answers["yes"] - answers["no"]) < 75


@pytest.mark.parametrize("kind", KINDS)
def test_dialogue_spreads_its_turns_over_the_families_of_the_kind(kind: str) -> None:
    asked = dialogue(sample_scene(kind, Random(1)), Random(1), 6)
    families = {family for family, of in FAMILIES.items() if of == kind}
    assert {question.family for question in asked} == families
    assert 4 <= len(asked) <= 6
