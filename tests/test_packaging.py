"""A wheel, installed where the checkout is out of sight, does from any folder what we do here."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel and, from ours, what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob("ablate-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    # A path only: the .pth file of the editable install beside it is not read from here.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python.parent


def run(installed: Path, folder: Path, *words: str) -> str:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [installed / "ablate", *words]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_studies_and_weights(installed: Path, tmp_path: Path) -> None:
    where = subprocess.check_output(
        [installed / "python", "-c", "import ablate; print(ablate.__file__)"],
        text=True,
        cwd=tmp_path,
    )
    assert str(ROOT / "ablate") not in where
    plan = json.loads(run(installed, tmp_path, "plan", "--round", "3", "--json"))
    assert len(plan["candidates"]) == 10
    checks = json.loads(run(installed, tmp_path, "doctor", "--json"))
    assert checks


def test_the_wheel_runs_a_study_to_its_report(installed: Path, tmp_path: Path) -> None:
    run(installed, tmp_path, "run", "micro/smoke")
    table = run(installed, tmp_path, "table", "micro/smoke", "--format", "csv")
    assert "pix2struct" in table
    assert list((tmp_path / "home" / "reports").glob("**/index.html"))
