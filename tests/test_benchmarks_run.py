"""No benchmark rots: each runs, at its smallest size, to its last row."""

import os
import runpy
import sys
from functools import partial
from pathlib import Path

import pytest
from forks import codes, forked

FOLDER = Path(__file__).parents[1] / "benchmarks"
LAST = {
    "bench": (["--small"], "table again, memory"),
    "data": (["--megabytes", "0.2", "--workers", "2", "--samples", "20"], "a sample"),
    "report": (["--candidates", "8", "--opened", "1"], "single"),
    "shards": (["--processes=2", "--width=64", "--layers=2", "--only=fsdp"], "fsdp"),
    "splice": (["--repeats", "1", "--batch", "4"], "32000"),
    "strategies": (["--repeat", "1", "--only", "null"], "Mordal"),
}
"""By benchmark: its smallest size, and how its last row begins."""
TOGETHER = {"answering", "driver", "fit", "fusions", "scale", "startup", "step"}
"""Benchmarks that `bench` runs."""
ELSEWHERE = {"gpu", "peer", "rows"}
"""A benchmark with a test of its own (tests/paper), and what is none."""


def test_every_benchmark_has_its_smallest_size_and_its_claim() -> None:
    files = {file.stem for file in FOLDER.glob("*.py")}
    assert files == LAST.keys() | TOGETHER | ELSEWHERE
    said = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in sorted(files) if f"`{name}.py`" not in said] == []


@pytest.fixture(scope="module")
def imported() -> None:
    """What takes most of them seconds to import is there: they fork from here."""
    import ablate.evaluate.adapter
    import ablate.train.stage  # noqa: F401


def run(name: str, options: list[str], folder: Path) -> None:
    """Be a process that runs a benchmark in `folder`, and prints into `out` and `err` there."""
    os.chdir(folder)
    for number, stream in (1, "out"), (2, "err"):
        os.dup2(os.open(stream, os.O_CREAT | os.O_WRONLY), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.path.insert(0, str(FOLDER))
    sys.argv = [str(FOLDER / f"{name}.py"), *options]
    runpy.run_path(sys.argv[0], run_name="__main__")
    sys.stdout.flush()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=[pytest.mark.browser] * (one == "report")) for one in LAST],
)
def test_a_benchmark_runs_to_its_last_row(name: str, imported: None, tmp_path: Path) -> None:
    options, last = LAST[name]
    ended = codes([forked(partial(run, name, options, tmp_path))], seconds=600)
    assert ended == [0], (tmp_path / "err").read_text()[-2000:]
    said = (tmp_path / "out").read_text()
    assert said.splitlines()[-1].strip().startswith(last), said
