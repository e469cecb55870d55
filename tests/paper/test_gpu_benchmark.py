"""The benchmark for a GPU: what it says without one, and that its steps are those of training."""

import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = str(Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py")


def test_the_micro_scale_runs_on_a_cpu_with_a_row_a_case(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = runpy.run_path(SCRIPT)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--tiny", "--steps", "1", "--batch", "2"])
    monkeypatch.setattr("torch.compile", lambda call: call)  # takes a minute
    benchmark["main"]()
    steps, attention = capsys.readouterr().out.split("\n\n")
    rows = [line.split(" | ") for line in steps.splitlines()[3:]]
    assert [row[1:3] for row in rows] == [
        [name, compiled] for name in benchmark["LEARNING"] for compiled in ("no", "yes")
    ]
    for row in rows:
        assert float(row[3]) > 0
        parts = [part.split()[0] for part in row[6].rstrip(" |").split(", ")]
        assert parts == ["encoders", "projector", "llm", "backward", "optimizer"]
    rows = [line.strip("| ").split(" | ") for line in attention.splitlines()[2:]]
    assert [row[:3] for row in rows] == [
        [way, "3", tokens] for tokens in ("3,822", "600") for way in benchmark["WAYS"]
    ]
    assert [float(row[3]) > 0 for row in rows[::2]] == [True, True]
    assert [row[3] for row in rows[1::2]] == ["needs a GPU"] * 2


@pytest.mark.parametrize("learning", ["projector", "everything"])
def test_the_true_shape_is_x5_on_vicuna_whose_operations_are_known(learning: str) -> None:
    benchmark = runpy.run_path(SCRIPT)
    parts = benchmark["LEARNING"][learning]
    study, finetune = benchmark["planned"]("vicuna-7b", parts, 4, False)
    assert set(finetune.spec["stage"]["train"]) == set(parts)
    assert len(finetune.spec["model"]["encoders"]) == 5
    passes = 3 if learning == "everything" else 1
    forward = 15.6e12 + 2 * 6.6e9 * 1274  # the vision side, and the LLM's tokens
    assert benchmark["operations"](study, finetune) > 4 * passes * forward


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="no GPU here"):
        runpy.run_path(SCRIPT)["main"]()
