"""Training noise that is shipped: found by recipe and suite, each run counted once."""

import json
from pathlib import Path

import pytest

from ablate.catalog import noise_floors
from ablate.catalog.noise_floors import COMPOSITE, Measurement, Repeated, Run, floors, measurements
from ablate.errors import UserError


def measured(*scores: float, design: str = "d", images: float = 0.0, first: int = 0) -> Measurement:
    """One candidate with these composites by seed."""
    runs = tuple(
        Run(seed=seed, scores={COMPOSITE: score}) for seed, score in enumerate(scores, first)
    )
    one = Repeated(name="one", design=design, runs=runs, images={COMPOSITE: images})
    return Measurement(about="here", recipe="r", suite="s", candidates=(one,))


def test_the_noise_is_that_of_runs_less_what_questions_make() -> None:
    (found,) = floors([("r", "s")], more=[measured(50.0, 54.0, images=2.0)])[COMPOSITE]
    assert (found.crude, found.variance, found.freedom) == (8.0, 6.0, 1.0)


def test_of_another_recipe_or_suite_nothing_is_known() -> None:
    for other in (("r", "another"), ("another", "s")):
        assert floors([other], more=[measured(50.0, 54.0)]) == {}


def test_a_run_counts_once() -> None:
    """One that the store has, and one that a larger measurement has, too."""
    large, small = measured(50.0, 54.0, 52.0), measured(1.0, 99.0)
    (found,) = floors([("r", "s")], more=[small, large])[COMPOSITE]
    assert found.freedom == 2.0
    both = floors([("r", "s")], more=[large, measured(1.0, 2.0, first=7)])[COMPOSITE]
    assert [one.freedom for one in both] == [2.0, 1.0]
    (left,) = floors([("r", "s")], but=[("d", 2)], more=[large])[COMPOSITE]
    assert (left.freedom, left.crude) == (1.0, 8.0)
    assert floors([("r", "s")], but=[("d", 1), ("d", 2)], more=[large]) == {}


def test_a_file_that_is_none_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "floor.json").write_text('{"about": "", "recipe": "r", "suite": "s"}')
    with pytest.raises(UserError, match=r"floor\.json: candidates: Field required"):
        measurements(tmp_path)


def test_what_is_shipped_says_how_it_was_measured_and_has_several_runs_of_each() -> None:
    every = measurements(noise_floors.FOLDER)
    assert every
    for one in every:
        assert one.about
        for each in one.candidates:
            assert len({run.seed for run in each.runs}) == len(each.runs) > 1, each.name
            names = {frozenset(run.scores) for run in each.runs}
            assert len(names) == 1, each.name
    assert json.loads(next(noise_floors.FOLDER.glob("*.json")).read_text())["about"]
