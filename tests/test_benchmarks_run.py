"""No benchmark rots: each runs, at its smallest size, to its last row."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
LAST = {
    "answering": (["--questions", "4", "--tokens", "2"], "one by one"),
    "data": (["--megabytes", "0.2", "--workers", "2", "--samples", "20"], "a sample"),
    "driver": (["--steps", "3"], "table"),
    "fit": (["--steps", "2", "--images", "12", "--batch", "4"], "Trainer"),
    "fusions": (["--repeats", "1", "--width", "16"], "deformable"),
    "report": (["--candidates", "8", "--opened", "1"], "single"),
    "shards": (["--processes", "2", "--width", "128", "--layers", "1"], "fsdp"),
    "splice": (["--repeats", "1", "--batch", "4"], "32000"),
    "startup": (["--rounds", "1"], "ablate report"),
}
"""By benchmark: its smallest size, and how its last row begins."""
ELSEWHERE = {"gpu", "peer"}
"""A benchmark with a test of its own (tests/paper), and what is none."""


def test_every_benchmark_has_its_smallest_size_and_its_claim() -> None:
    files = {file.stem for file in FOLDER.glob("*.py")}
    assert files == LAST.keys() | ELSEWHERE
    said = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in sorted(files) if f"`{name}.py`" not in said] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=[pytest.mark.browser] * (one == "report")) for one in LAST],
)
def test_a_benchmark_runs_to_its_last_row(name: str, tmp_path: Path) -> None:
    options, last = LAST[name]
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py"), *options],
        env={**os.environ, "ABLATE_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1].strip().startswith(last), done.stdout
