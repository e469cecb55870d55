"""What every strategy holds, ours and other packages': it is run on its own `example`."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategy_toys import Scores

from ablate import strategies
from ablate.config.study import Study, load_study
from ablate.design import Design, encoder_spec
from ablate.errors import UserError
from ablate.search import decision
from ablate.search.explore import rounds_so_far
from ablate.strategies import Decision, Round

THEIRS = "backward"  # that of docs/extending/strategy.md
KINDS = sorted({*strategies.names(), THEIRS})
pytestmark = pytest.mark.usefixtures("theirs")
of_one_turn = pytest.mark.parametrize(
    "kind",
    [kind for kind in KINDS if kind == THEIRS or not strategies.find(kind).looks],
    indirect=True,
    scope="module",
)
"""Of those whose rounds are decided in one turn."""


@pytest.fixture(params=KINDS, scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def study(kind: str, theirs: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of the strategy's example."""
    fields = {"kind": kind, **strategies.find(kind).example}
    written = {"extends": "micro/base", "title": "t", "question": "q", "explore": fields}
    path = tmp_path_factory.mktemp(kind) / "study.yaml"
    path.write_text(json.dumps(written))
    return load_study(str(path))


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision, "DRAWS", 20)


def played(study: Study, scores: Scores, data: st.DataObject) -> list[Round]:
    """All rounds it may have, with scores drawn for each candidate once it is known."""
    most = study.explore.most_rounds(study.base)
    drawn = st.integers(0, 100).map(float) | st.just("failed")
    while True:
        turns, before = rounds_so_far(study, scores, most), len(scores.known)
        for turn in turns:
            for one in () if turn.provisional else turn.candidates:
                if one.name not in scores.known:
                    scores.known[one.name] = data.draw(drawn)
        if len(scores.known) == before:
            return turns


ANY_SCORES = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_it_has_a_line_of_description_and_says_how_many_rounds_it_has(study: Study) -> None:
    line = (type(study.explore).__doc__ or "").partition("\n")[0]
    assert line.endswith(".")
    assert 1 <= study.rounds <= study.explore.most_rounds(study.base)
    assert rounds_so_far(study, Scores())[-1].round == study.rounds


def test_no_more_rounds_can_be_asked_for_than_it_may_have(study: Study) -> None:
    most = study.explore.most_rounds(study.base)
    assert rounds_so_far(study, Scores(), most)[-1].round == most
    with pytest.raises(UserError, match=f"no round {most + 1}; choose one of 1 to {most}"):
        rounds_so_far(study, Scores(), most + 1)


def test_an_unknown_field_is_named_with_its_line(kind: str, tmp_path: Path) -> None:
    fields = {"kind": kind, **strategies.find(kind).example, "colour": "red"}
    path = tmp_path / "study.yaml"
    head = "extends: micro/base\ntitle: t\nquestion: q\n"
    path.write_text(f"{head}explore: {json.dumps(fields)}\n")
    with pytest.raises(UserError, match=r"study.yaml:4: explore.colour: unknown key"):
        load_study(str(path))


def test_every_encoder_on_its_shelf_is_there_by_its_full_title(study: Study) -> None:
    assert study.shelf
    assert [encoder_spec(title).title for title in study.shelf] == list(study.shelf)


def test_every_design_it_proposes_is_one_that_a_study_may_have(study: Study) -> None:
    """A study of that design as its base is loaded, and finds nothing to add to it."""
    turns = rounds_so_far(study, Scores(), study.explore.most_rounds(study.base))
    candidates = [one for turn in turns for one in turn.candidates]
    assert len({one.name for one in candidates}) == len(candidates)
    for one in candidates:
        fields = one.model_dump(mode="json", include=set(Design.model_fields))
        alone = [f"base={json.dumps(fields)}", "explore={kind: arms, axis: a, arms: [{name: b}]}"]
        (found,) = load_study("micro/rounds", alone).designs
        assert found.model_dump(mode="json") == fields


@ANY_SCORES
@given(data=st.data())
def test_in_whatever_order_results_come_and_whoever_asks_it_goes_the_same_way(
    study: Study, data: st.DataObject
) -> None:
    """Killed after any result and asked again, with or without the decisions it had stored."""
    whole, partial = Scores(), Scores()
    turns, most = played(study, whole, data), study.explore.most_rounds(study.base)
    for name in data.draw(st.permutations(sorted(whole.known))):
        partial.known[name] = whole.known[name]
        for turn in rounds_so_far(study, partial, most):
            if turn.decision:
                partial.decisions[turn.number] = json.loads(json.dumps(turn.decision.to_json()))
    assert rounds_so_far(study, partial, most) == turns
    assert rounds_so_far(study, Scores(whole.known), most) == turns


@ANY_SCORES
@given(data=st.data())
def test_what_it_proposes_is_on_its_shelf_and_has_a_name_of_its_own(
    study: Study, data: st.DataObject
) -> None:
    turns = played(study, Scores(), data)
    for n in range(len(turns)):
        trials = strategies.propose(study.explore, study.base, turns[:n])
        strategies.check(study.explore, study.base, turns[:n], trials)


@ANY_SCORES
@given(data=st.data())
def test_the_best_go_on_and_a_decision_is_read_as_it_was_written(
    study: Study, data: st.DataObject
) -> None:
    for turn in played(study, Scores(), data):
        found = turn.decision
        if found:
            assert found.winner == found.survivors[0]
            if found.settled:
                assert len(found.survivors) == min(study.explore.keeps, len(found.scores))
            else:
                assert found.look
                assert found.look.open == found.survivors
            scored = [name for name in found.survivors if name in found.scores]
            assert sorted(scored, key=lambda name: -found.scores[name]) == scored
            assert Decision.from_json(json.loads(json.dumps(found.to_json()))) == found


@of_one_turn
def test_what_hangs_on_an_open_round_is_shown_as_if_its_first_had_won(study: Study) -> None:
    most, scores = study.explore.most_rounds(study.base), Scores()
    for number in range(1, most):
        open_, after = rounds_so_far(study, scores, number + 1)[-2:]
        first = open_.candidates[0]
        assert after.provisional == (len(open_.candidates) > 1)
        scores.known |= {one.name: 1.0 for one in open_.candidates} | {first.name: 2.0}
        settled = rounds_so_far(study, scores, number + 1)[-1]
        assert not settled.provisional
        if study.explore.keeps == 1:
            assert settled.candidates == after.candidates


def test_a_candidate_has_a_short_name(study: Study) -> None:
    before = None
    for turn in rounds_so_far(study, Scores()):
        labels = {study.explore.label(one.name, one.encoders, before) for one in turn.candidates}
        assert len(labels) == len(turn.candidates)
        before = turn.candidates[0].encoders
