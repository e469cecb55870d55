"""Figures for notebooks and print: the same every time, told apart without colour, fonts inside."""

import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

from ablate.errors import UserError
from ablate.reports import figures
from ablate.reports.model import StudyResult


def drawn(study: StudyResult) -> dict[str, Figure]:
    return {
        "greedy_path": figures.greedy_path(study),
        "contributions": figures.contributions(study),
        "flips": figures.flips(study),
        **{f"pareto by {cost}": figures.pareto(study, cost) for cost in figures.COSTS},
    }


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_a_saved_figure_has_its_width_its_fonts_and_the_same_bytes(
    greedy: StudyResult, tmp_path: Path, suffix: str, columns: int
) -> None:
    again = drawn(greedy)
    for name, figure in drawn(greedy).items():
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


def test_only_svg_and_pdf_are_for_print(greedy: StudyResult, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"as \.svg or \.pdf"):
        figures.save(figures.flips(greedy), tmp_path / "flips.png")
    assert list(tmp_path.iterdir()) == []


def test_the_front_is_what_none_beats_and_has_a_marker_of_its_own(greedy: StudyResult) -> None:
    axes = figures.pareto(greedy, "device_hours").axes[0]
    front = next(line for line in axes.lines if line.get_marker() == "D")
    scores = list(front.get_ydata())
    best = greedy.best
    assert best is not None
    assert scores == sorted(scores)
    assert scores[-1] == best.composite
    others = [line for line in axes.lines if line.get_marker() == "o"]
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


def test_drawing_changes_no_one_s_matplotlib_and_takes_no_display(greedy: StudyResult) -> None:
    before = dict(matplotlib.rcParams)
    drawn(greedy)
    assert dict(matplotlib.rcParams) == before
    program = "import sys, reports.figures; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
