"""Whatever its markers, a test is in a target that `make test-all` is made of, and CI runs each."""

import re
import subprocess
import tomllib
from itertools import product
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MARKERS = [one.partition(":")[0] for one in PROJECT["tool"]["pytest"]["ini_options"]["markers"]]
LONG = {"slow", "slurm", "ray", "browser", "deepspeed"}


def targets() -> list[str]:
    """What `make test-all` asks for."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [line] = re.findall(r"^test-all: (.*?)  ##", makefile, re.MULTILINE)
    return str(line).split()


def selection(target: str) -> str:
    """The markers of a target's tests, as it tells pytest."""
    make = ["make", "--dry-run", target]
    told = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [found] = set(re.findall(r"pytest\b.* -m ('[^']+'|\w+)", told))
    return str(found).strip("'")


def test_no_combination_of_markers_is_left_out() -> None:
    selections = {target: selection(target) for target in targets()}
    for has in product([False, True], repeat=len(MARKERS)):
        markers = dict(zip(MARKERS, has, strict=True))
        chosen = {target for target, one in selections.items() if eval(one, {}, markers)}
        assert chosen, markers
        assert ("test" in chosen) == (not any(markers[one] for one in LONG)), markers


def test_ci_runs_every_target() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    lines = re.findall(r"^[^#\n]*\b(?:make|tests) ([a-z -]+)", script, re.MULTILINE)
    assert {*targets(), "check", "demo"} <= set(" ".join(lines).split())
