"""What every test shares: a home of its own, and skips that CI does not forgive."""

import os
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests are small: more threads only fight
# A shell's background job starts with Ctrl-C ignored, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

NEEDS = {
    "slurm": ("slurmctld", "munged"),
    "browser": ("chromium",),
    "latex": ("pdflatex",),
    "compiler": ("g++",),
}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results of a test go to its own folder, never to the `runs/` of whoever runs it."""
    home = tmp_path / "home"
    monkeypatch.setenv("ABLATE_HOME", str(home))
    return home


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs or devices are missing; in CI that is a failure (GPUs and
    DeepSpeed aside)."""
    for marker, programs in NEEDS.items():
        if item.get_closest_marker(marker):
            missing = [program for program in programs if not shutil.which(program)]
            if missing and os.environ.get("CI"):
                pytest.fail(f"CI lacks {', '.join(missing)}, which this test needs")
            if missing:
                pytest.skip(f"needs {', '.join(missing)}")
    if item.get_closest_marker("deepspeed") and not find_spec("deepspeed"):
        pytest.skip("needs DeepSpeed, which `make test-deepspeed` installs apart")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU")
