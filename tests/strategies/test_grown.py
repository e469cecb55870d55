"""Rounds whose candidates begin as the winner before."""

from pathlib import Path

import core_fakes
import pytest
from in_process import ablate, faked
from strategy_toys import Scores

from ablate.config.study import load_study
from ablate.errors import UserError
from ablate.reports import fairness
from ablate.reports.load import load
from ablate.search.explore import rounds_so_far
from ablate.store.steps import steps_for

POOL = "rounds: 3, pool: [pix2struct-micro, convnext-micro, sam-micro]"
GROWN = f"explore={{kind: rounds, start: grown, {POOL}}}"


@pytest.mark.parametrize("kind", ["rounds", "beam", "racing"])
def test_every_candidate_grows_from_the_mixture_it_adds_to(kind: str) -> None:
    study = load_study("micro/smoke", [GROWN.replace("rounds,", f"{kind},"), "seeds=[0]"])
    first, *later = rounds_so_far(study, Scores())
    assert first.candidates[0].grown_from is None
    for turn in later:
        for one in turn.candidates:
            assert one.grown_from is not None
            assert one.encoders[:-1] == one.grown_from.encoders


def test_by_default_nothing_is_grown_and_no_key_differs() -> None:
    found = [
        load_study("micro/smoke", [f"explore={{kind: rounds, {start}{POOL}}}", "seeds=[0]"])
        for start in ("", "start: shipped, ")
    ]
    tried = [
        [one for turn in rounds_so_far(study, Scores()) for one in turn.candidates]
        for study in found
    ]
    assert not any(one.grown_from for candidates in tried for one in candidates)
    plain, shipped = (
        [step.key for one in candidates for step in steps_for(one, study)]
        for study, candidates in zip(found, tried, strict=True)
    )
    assert plain == shipped


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (
            ["base.fusion.name=deformable"],
            "explore.start: .*deformable does not begin.*channel_conc",
        ),
        (
            ["base.fusion.name=sequence_append"],
            "explore.start: .*sequence_append does not begin as",
        ),
        (["base.connector=pooling"], "explore.start: .*pooling does not begin as.* but for mlp"),
        (["base.grown_from={encoders: [clip-micro]}"], "base.grown_from"),
        (["explore.direction=backward"], "explore.start: .*a round backwards adds no expert"),
    ],
)
def test_what_cannot_begin_as_it_was_is_refused_before_anything_runs(
    sets: list[str], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        load_study("micro/smoke", [GROWN, *sets])


@pytest.mark.usefixtures("unreported")
def test_a_grown_study_runs_to_its_end_and_the_fairness_page_counts_the_trainings(
    own_home: Path,
) -> None:
    words = ("--set", GROWN, "--set", "seeds=[0]")
    with faked(core_fakes.EXECUTORS):
        done = ablate("run", "micro/smoke", *words, "--backend", "inline")
        assert done.code == 0, done.err
        first = core_fakes.executed(own_home)
        assert ablate("run", "micro/smoke", *words, "--backend", "inline").code == 0
    assert core_fakes.executed(own_home) == first
    assert len(set(first)) == len(first)
    study = load_study("micro/smoke", [GROWN, "seeds=[0]"])
    *_, last = rounds_so_far(study, Scores())
    assert "grown" in {
        role for step in steps_for(last.candidates[0], study) for role in step.parents
    }
    told = [one for one in fairness.check(load(study)) if one.fact == "start"]
    assert [(one.where, one.severity) for one in told] == [
        ("round 2", "error"),
        ("round 3", "error"),
    ]
    assert "(3 trainings in a row)" in told[1].text
    assert "(2 trainings in a row)" in told[1].text
