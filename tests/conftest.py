"""What every test shares: a home of its own, and skips that CI does not forgive.

Where CI is set, a test that skips fails: what it needs is missing. Only a GPU may be.
"""

import atexit
import gc
import os
import shutil
import signal
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

from ablate.garbage import collect_rarely

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests are small: more threads only fight
collect_rarely()  # else it takes a fourteenth of all that tests compute
# A shell's background job starts with Ctrl-C ignored, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# No time is promised, and a loaded machine is slow. All else is hypothesis's own profile: cases are
# new each time, but in CI always the same, so that what fails there is the change's doing.
# ABLATE_FUZZ=N tries N times as many.
CASES = 100 * int(os.environ.get("ABLATE_FUZZ", "1"))
settings.register_profile("ablate", deadline=None, max_examples=CASES)
settings.load_profile("ablate")

pytest_plugins = ["clocks", "fake_study"]

NEEDS = {
    "slurm": ("slurmctld", "munged"),
    "browser": ("chromium",),
    "latex": ("pdflatex",),
    "compiler": ("g++",),
}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results of a test go to its own folder, never to the `runs/` of whoever runs it.

    Nothing there need outlive a power cut, so nothing waits until it is on the disk.
    """
    home = tmp_path / "home"
    monkeypatch.setenv("ABLATE_HOME", str(home))
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    return home


def pytest_collection_finish() -> None:
    """What is imported by now stays: until the end no search for garbage looks through it again."""
    gc.freeze()
    atexit.register(gc.unfreeze)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose programs or devices are missing."""
    for marker, programs in NEEDS.items():
        if item.get_closest_marker(marker):
            missing = [program for program in programs if not shutil.which(program)]
            if missing:
                pytest.skip(f"needs {', '.join(missing)}")
    if item.get_closest_marker("deepspeed") and not find_spec("deepspeed"):
        pytest.skip("needs DeepSpeed, which `make test-deepspeed` installs apart")
    if item.get_closest_marker("ray") and not find_spec("ray"):
        pytest.skip("needs Ray: `pip install 'ablate-vlm[ray]'`")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, a test that skips is one that fails, for the same reason."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and not item.get_closest_marker("gpu"):
        _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI, a file that skips as a whole is one that fails, too."""
    report = yield
    if report.skipped:
        _refuse(report)
    return report


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("CI"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason}; in CI nothing may be skipped but for a GPU"
