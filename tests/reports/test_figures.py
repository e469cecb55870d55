"""Figures for notebooks and print: the same every time, told apart without colour, fonts inside."""

import dataclasses
import re
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from ablate.errors import UserError
from ablate.reports import figures, labels
from ablate.reports.drawing import PAPER
from ablate.reports.model import StudyResult
from ablate.reports.significance import standing
from ablate.reports.sizes import size


def drawn(study: StudyResult) -> dict[str, Figure]:
    return {
        "greedy_path": figures.greedy_path(study),
        "contributions": figures.contributions(study),
        "flips": figures.flips(study),
        **{f"pareto by {cost}": figures.pareto(study, cost) for cost in figures.COSTS},
    }


@pytest.mark.parametrize(("suffix", "columns"), [("svg", 1), ("pdf", 2)])
def test_a_saved_figure_has_its_width_its_fonts_and_the_same_bytes(
    greedy: StudyResult, tmp_path: Path, suffix: str, columns: int
) -> None:
    once, again = drawn(greedy), drawn(greedy)
    for name in ("greedy_path", "contributions", "flips", "pareto by device_hours"):
        figure = once[name]
        size = tuple(figure.get_size_inches())
        first, second = tmp_path / f"{name}.{suffix}", tmp_path / f"again.{suffix}"
        for path, one in ((first, figure), (second, again[name])):
            figures.save(one, path, columns)  # type: ignore[arg-type]
        assert first.read_bytes() == second.read_bytes()
        assert tuple(figure.get_size_inches()) == size
        width = figures.COLUMNS[columns]
        if suffix == "svg":
            text = first.read_text(encoding="utf-8")
            assert float(re.search(r'width="([\d.]+)pt"', text)[1]) == pytest.approx(72 * width)  # type: ignore[index]
            assert "<text" not in text  # outlines: no font is asked for
        else:
            box = re.search(rb"MediaBox \[ 0 0 ([\d.]+)", first.read_bytes())
            assert box is not None
            assert float(box[1]) == pytest.approx(72 * width)
            assert b"/FontFile2" in first.read_bytes()


def test_only_svg_pdf_and_png_are_files_of_figures(greedy: StudyResult, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"as \.svg, \.pdf or \.png"):
        figures.save(figures.flips(greedy), tmp_path / "flips.gif")
    assert list(tmp_path.iterdir()) == []
    for name in ("a.png", "b.png"):
        figures.save(figures.flips(greedy), tmp_path / name, columns=1)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert (image.format, image.width) == ("PNG", 300 * 3.25)


def test_every_candidate_is_named_with_its_score_and_its_standing(
    greedy: StudyResult, arms: StudyResult
) -> None:
    for study, figure in (
        (greedy, figures.greedy_path(greedy)),
        (arms, figures.arm_scores(arms)),
    ):
        axes = figure.axes[0]
        rows = {label.get_position()[1]: label.get_text() for label in axes.get_yticklabels()}
        said = {text.get_position()[1]: text.get_text() for text in axes.texts}
        points = {
            line.get_gid(): line for line in axes.lines if str(line.get_gid()).startswith("p")
        }
        assert len(said) == len(study.candidates)
        for one in study.candidates:
            mark = standing(study, one)
            if one.composite is None:
                assert "failed" in said.values()
                continue
            point = points[figures.gid(study, one)]
            row = point.get_ydata()[0]
            assert rows[row] == study.label(one)
            assert said[row] == f"{one.composite:.1f} {mark}"
            assert point.get_xdata()[0] == one.composite
            assert (point.get_markerfacecolor() == PAPER) == (mark == "tie")
    assert any(standing(arms, one) == "tie" for one in arms.candidates)


@pytest.mark.parametrize("cost", figures.COSTS)
@pytest.mark.parametrize("columns", [0, 1, 2])
def test_no_name_of_a_front_lies_on_another(greedy: StudyResult, cost: str, columns: int) -> None:
    figure = figures.pareto(greedy, cost)
    if columns:  # as `save` does
        figure.set_size_inches(
            figures.COLUMNS[columns], 3.6 * max(figures.COLUMNS[columns] / 5, 0.7)
        )
    figure.draw_without_rendering()
    names = figure.axes[0].texts
    boxes = [Text.get_window_extent(name) for name in names]  # without the lines to the points
    axes = figure.axes[0].get_window_extent()
    assert len(boxes) == sum(one.composite is not None for one in greedy.candidates)
    assert not any(a.overlaps(b) for a, b in combinations([axes, *boxes], 2))
    assert all(figure.bbox.x1 + 1 >= box.x1 for box in boxes)


@given(st.lists(st.floats(-1, 2), max_size=labels.NAMED).map(lambda found: sorted(found)[::-1]))
def test_names_keep_their_distance_and_their_order(wished: list[float]) -> None:
    step = 1.0 / labels.NAMED
    found = labels.spread(wished, step)
    assert len(found) == len(wished)
    assert all(a - b >= step - 1e-9 for a, b in pairwise(found))
    assert all(-1e-9 <= each <= 1 + 1e-9 for each in found)
    if all(a - b >= step for a, b in pairwise([1 + step, *wished, -step])):
        assert found == pytest.approx(wished)


@pytest.mark.parametrize(
    ("seconds", "unit"), [(0.0, "seconds"), (119, "seconds"), (3500, "minutes"), (7200, "hours")]
)
def test_a_time_is_read_in_a_unit_that_suits_it(seconds: float, unit: str) -> None:
    name, scale = figures.time_unit(seconds)
    assert name == unit
    assert seconds / scale <= 120 or unit == "hours"


def test_what_no_machine_has_a_part_in_comes_first_and_is_counted(greedy: StudyResult) -> None:
    measured = [cost.measured for cost in figures.COSTS.values()]
    assert measured == sorted(measured)
    one = greedy.base
    by_hand = sum(
        step.record["result"]["samples"] * step.record["result"]["vision_flops"]
        for step in one.steps
        if step.kind != "evaluate"
    )
    assert size(one).training_flops == by_hand
    slower = [
        dataclasses.replace(step, record={**step.record, "device_seconds": 1e6})
        for step in one.steps
    ]
    again = size(dataclasses.replace(one, steps=tuple(slower)))
    assert again.training_flops == by_hand
    assert again.device_hours != size(one).device_hours


def test_losses_share_one_axis_and_are_named(greedy: StudyResult) -> None:
    axes = figures.losses(greedy).axes[0]
    names = {text.get_text() for text in axes.texts}
    assert greedy.base.name in names
    assert greedy.best is not None
    assert f"{greedy.label(greedy.best)} ({greedy.best.round})" in names
    assert len(axes.lines) == len(names) == 8
    assert all(line.get_xdata()[-1] == 99 for line in axes.lines)


def test_the_front_is_what_none_beats_and_has_a_marker_of_its_own(greedy: StudyResult) -> None:
    axes = figures.pareto(greedy, "device_hours").axes[0]
    scores, others = (
        [score for line in axes.lines if line.get_marker() == marker for score in line.get_ydata()]
        for marker in "Do"
    )
    best = greedy.best
    assert best is not None
    assert scores == sorted(scores)
    assert scores[-1] == best.composite
    scored = sum(one.composite is not None for one in greedy.candidates)
    assert len(others) + len(scores) == scored
    speed = figures.pareto(greedy, "tokens_per_second").axes[0]
    assert "more is better" in speed.get_xlabel()


def test_another_cost_is_a_mistake_with_the_nearest_one(greedy: StudyResult) -> None:
    with pytest.raises(UserError, match="did you mean 'visual_tokens'"):
        figures.pareto(greedy, "visual_token")


def test_figures_of_a_study_without_scores_are_empty_but_there(empty: StudyResult) -> None:
    assert len(figures.pareto(empty).axes[0].lines) == 0
    assert len(figures.contributions(empty).axes) == 1
    assert len(figures.flips(empty).axes) == 1


def test_drawing_changes_no_one_s_matplotlib(greedy: StudyResult) -> None:
    before = dict(matplotlib.rcParams)
    drawn(greedy)
    assert dict(matplotlib.rcParams) == before
