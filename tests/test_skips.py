"""In CI nothing is skipped in silence: a test that cannot run there fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FILE = """
import pytest

@pytest.mark.slurm
def test_of_a_program_that_is_not_there(): ...

@pytest.mark.gpu
def test_of_a_gpu(): pytest.skip("no GPU")

@pytest.mark.skip(reason="some day")
def test_marked(): ...

@pytest.mark.xfail
def test_that_is_known_to_fail(): assert False

def test_that_skips_itself(): pytest.skip("not today")
"""
TORCH = "class cuda: is_available = staticmethod(lambda: False)"  # the real one takes seconds
WHOLE = "import pytest\npytest.importorskip('no_such_module')\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "test_some.py").write_text(FILE)
    (tmp_path / "torch.py").write_text(TORCH)
    for plugin in "fake_study", "clocks":  # of their fixtures none is asked for
        (tmp_path / f"{plugin}.py").touch()
    return tmp_path


OURS = {"CI", "PYTEST_ADDOPTS"}
"""Of the environment, what is of the tests around these and not for them."""


def ends(folder: Path, **env: str) -> tuple[int, str]:
    """The exit code of pytest in `folder`, on a machine without programs, and what it says."""
    env = {key: value for key, value in os.environ.items() if key not in OURS} | env
    env |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # they take long to import
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-ra"]
    done = subprocess.run(
        [*line, "--rootdir", folder, folder],
        cwd=folder,
        env=env | {"PATH": str(folder)},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout


def test_elsewhere_what_is_missing_is_skipped(folder: Path) -> None:
    code, said = ends(folder)
    assert code == 0, said
    assert "4 skipped, 1 xfailed" in said


def test_in_ci_a_skip_is_a_failure_but_for_a_gpu(folder: Path) -> None:
    code, said = ends(folder, CI="true")
    assert code == 1
    assert "1 failed, 1 skipped, 1 xfailed" in said
    assert "2 errors" in said  # those that skip before they begin
    for reason in ("needs slurmctld, munged", "some day", "not today"):
        assert f"{reason}; in CI nothing may be skipped" in said


def test_in_ci_a_file_that_skips_as_a_whole_is_a_failure(folder: Path) -> None:
    (folder / "test_some.py").write_text(WHOLE)
    assert ends(folder)[0] == 5  # no tests
    code, said = ends(folder, CI="true")
    assert code == 2
    assert "no_such_module" in said
