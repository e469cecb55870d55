"""A loss curve ends where the loss does, and counts every step."""

import json
from pathlib import Path

import pytest

from ablate.reports.model import StepResult
from ablate.reports.pages.curves import MOST, WIDTH, curve


def of(folder: Path, losses: list[float]) -> StepResult:
    lines = [json.dumps({"step": n, "loss": loss}) for n, loss in enumerate(losses, start=1)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return StepResult("pretrain", "k", "s", folder.name, "done", within=folder.parent)


@pytest.mark.parametrize("count", [1, 2, 19, 20, 299, 300, 301, 340, 1000, 1001])
def test_every_step_is_counted_and_the_last_loss_is_the_last(tmp_path: Path, count: int) -> None:
    losses = [4.0 * 0.99**n + 0.4 for n in range(count)]
    found = curve(of(tmp_path, losses))
    assert found is not None
    assert found.steps == f"{count:,}"
    assert found.last == f"{losses[-1]:.3g}"
    over = losses[-found.over :]
    assert found.mean == f"{sum(over) / len(over):.3g}"
    for line in (found.raw, found.smooth):
        points = [tuple(map(float, point.split(","))) for point in line.split()]
        assert len(points) <= MOST + 1
        assert points[0][0] == 0.0
        assert points[-1][0] == (WIDTH if count > 1 else 0.0)


def test_the_smoothed_line_does_not_lag_behind_a_loss_that_falls(tmp_path: Path) -> None:
    """340 steps to 0.465: a moving average of every second step said 0.98."""
    losses = [3.0 - (3.0 - 0.465) * n / 339 for n in range(340)]
    found = curve(of(tmp_path, losses))
    assert found is not None
    assert found.last == "0.465"
    assert float(found.mean) == pytest.approx(0.465, abs=0.07)
    assert found.over == 17


def test_a_step_without_a_loss_has_no_curve(tmp_path: Path) -> None:
    assert curve(StepResult("pretrain", "k", "s", "d", "waiting")) is None
    assert curve(of(tmp_path, [])) is None
