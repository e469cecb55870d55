"""A recipe is a list of stages in an order that does not hang on how they are written down."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.config.study import load_study
from ablate.design.recipe import Recipe, StageConfig, TrainingConfig
from ablate.errors import UserError

STAGE: dict[str, Any] = {"data": "pairs", "steps": 1, "batch_size": 1, "train": {"llm": 1.0}}


def own(kind: str = "finetune", **more: Any) -> dict[str, Any]:
    return {**STAGE, "kind": kind, **more}


def order(**stages: dict[str, Any] | None) -> list[str]:
    return list(Recipe.model_validate(stages).stages())


def test_stages_of_ours_have_their_places_and_others_come_last_as_written() -> None:
    assert order(finetune=STAGE, b=own(), pretrain=STAGE, a=own(), prealign=STAGE) == [
        "prealign",
        "pretrain",
        "finetune",
        "b",
        "a",
    ]


def test_a_stage_stands_next_to_the_one_it_names_in_the_order_written() -> None:
    found = order(
        d=own(after="c"),
        b=own(after="pretrain"),
        c=own(after="pretrain"),
        pretrain=STAGE,
        finetune=STAGE,
        a=own(before="pretrain"),
    )
    assert found == ["a", "pretrain", "b", "c", "d", "finetune"]


def test_a_place_stays_known_where_its_stage_is_taken_away() -> None:
    assert order(prealign=None, a=own("pretrain", after="prealign"), finetune=STAGE) == [
        "a",
        "finetune",
    ]


@given(
    anchors=st.lists(
        st.tuples(st.sampled_from(["after", "before"]), st.integers(0, 9)), max_size=7
    ),
    written=st.randoms(use_true_random=False),
)
def test_every_stage_is_there_once_next_to_its_own(
    anchors: list[tuple[str, int]], written: Any
) -> None:
    """A stage may hang on any before it in the list, and on none that hangs on it."""
    known, sides = ["prealign", "pretrain", "finetune"], dict[str, tuple[str, str]]()
    for n, (side, at) in enumerate(anchors):
        sides[f"s{n}"] = side, known[1:][at % len(known[1:])]
        known.append(f"s{n}")
    stages = {name: own(**{side: anchor}) for name, (side, anchor) in sides.items()}
    stages |= {"prealign": STAGE, "pretrain": STAGE, "finetune": STAGE}
    mixed = list(stages.items())
    written.shuffle(mixed)
    found = order(**dict(mixed))
    assert sorted(found) == sorted(stages)
    for name, (side, anchor) in sides.items():
        assert (found.index(name) > found.index(anchor)) == (side == "after")
        low, high = sorted((found.index(name), found.index(anchor)))
        for between in found[low + 1 : high]:  # only what hangs on the same stage, or on those
            above = between
            while above in sides and above not in (name, anchor):
                above = sides[above][1]
            assert above in (name, anchor)


WRONG = {
    "instruct={data: pairs, steps: 1}": "recipe.instruct: unknown key (a stage of another name",
    "finetun={data: pairs, steps: 1}": "did you mean 'finetune'?",
    "more.steps=2": "recipe.more: unknown key (a stage",
    "lst=null": "recipe.lst: unknown key; did you mean 'last'?",
    "feature_nrm=none": "unknown key; did you mean 'feature_norm'?",
    "last.kind=finetun": "recipe.last.kind: 'finetun' is no kind of stage; did you mean 'finetune'",
    "last.kind=evaluate": "recipe.last.kind: 'evaluate' is no kind of stage; choose one of",
    "last.kind=[1]": "recipe.last.kind: '[1]' is no kind of stage",
    "pretrain.kind=finetune": "recipe.pretrain.kind: 'pretrain' is a kind of its own: give a stage",
    "driver.kind=finetune": "recipe.driver.kind: 'driver' is a kind of its own",
    "a-b.kind=finetune": "recipe.a-b: a stage's name is of letters, digits and _",
    "last.after=finetun": "recipe.last.after: there is no stage 'finetun'; did you mean 'finetune'",
    "last.before=last": "recipe.last: stands beside itself, by way of last",
    "pretrain.after=finetune": "recipe.pretrain.after: 'pretrain' has a place of its own",
    "last.kind=prealign": "recipe.last: is of each expert alone, so it comes before",
    "last.data=pair": "recipe.last.data: no data 'pair'; did you mean 'pairs'?",
    "last.steps=x": "recipe.last.steps: should be a valid integer, got 'x'",
    "last.train.lm=1": "recipe.last.train.lm: 'lm' is no valid value; did you mean 'llm'",
}


@pytest.fixture
def extended(tmp_path: Path) -> str:
    """A study with a stage `last` of its own."""
    path = tmp_path / "study.yaml"
    last = json.dumps(own())
    path.write_text(f"extends: micro/smoke\nbase: {{recipe: {{last: {last}}}}}")
    return str(path)


@pytest.mark.parametrize("change", WRONG)
def test_a_wrong_stage_is_one_line_with_its_place(extended: str, change: str) -> None:
    with pytest.raises(UserError) as error:
        load_study(extended, [f"base.recipe.{change}"])
    line = str(error.value)
    assert WRONG[change] in line
    assert line.startswith((f"--set base.recipe.{change}", "sweeps/", extended))
    assert "\n" not in line


def test_a_stage_has_one_neighbour(extended: str) -> None:
    both = ["base.recipe.last.after=pretrain", "base.recipe.last.before=finetune"]
    with pytest.raises(UserError, match=r"recipe\.last: give after or before, one of the two"):
        load_study(extended, both)


def test_a_recipe_that_trains_no_whole_candidate_is_refused() -> None:
    none = ["base.recipe.pretrain=null", "base.recipe.finetune=null"]
    with pytest.raises(UserError, match="there is no stage that trains a whole candidate"):
        load_study("micro/smoke", none)
    assert list(load_study("micro/smoke", none[1:]).base.recipe.stages()) == [
        "prealign",
        "pretrain",
    ]


def test_a_stage_is_inherited_changed_moved_and_taken_away(extended: str, tmp_path: Path) -> None:
    def stages(*overrides: str) -> dict[str, StageConfig]:
        return load_study(extended, overrides).base.recipe.stages()

    assert list(stages()) == ["prealign", "pretrain", "finetune", "last"]
    assert stages("base.recipe.last.steps=7")["last"].steps == 7
    moved = stages("base.recipe.last.after=pretrain")
    assert list(moved) == ["prealign", "pretrain", "last", "finetune"]
    assert list(stages("base.recipe.last=null")) == ["prealign", "pretrain", "finetune"]
    child = tmp_path / "child.yaml"
    child.write_text("extends: study.yaml\nbase: {recipe: {last: null}}")
    assert list(load_study(str(child)).base.recipe.stages()) == ["prealign", "pretrain", "finetune"]


def test_arms_change_add_and_take_stages_away(extended: str) -> None:
    arms = [
        {"name": "base"},
        {"name": "longer", "set": {"recipe.last.steps": 9}},
        {"name": "none", "set": {"recipe.last": None}},
        {"name": "more", "set": {"recipe.first": own("pretrain", before="pretrain")}},
    ]
    explore = json.dumps({"kind": "arms", "axis": "stages", "arms": arms})
    base, longer, none, more = load_study(extended, [f"explore={explore}"]).designs
    assert longer.recipe.stages()["last"].steps == 9
    assert list(none.recipe.stages()) == list(base.recipe.stages())[:-1]
    assert list(more.recipe.stages()) == ["prealign", "first", "pretrain", "finetune", "last"]


def test_a_stage_says_how_it_trains_and_beside_that_what_it_is() -> None:
    apart = StageConfig.model_fields.keys() - TrainingConfig.model_fields.keys()
    assert apart == {"data", "kind", "after", "before"}
