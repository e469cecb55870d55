"""A wheel, installed where the checkout is out of sight, does from any folder what we do here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ablate.config.distribution import NAME, PACKAGES

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel and, from ours, what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT]
    subprocess.run(build, check=True)
    (wheel,) = folder.glob(f"{NAME.replace('-', '_')}-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    # Paths only: the .pth file of the editable install beside them is not read from here.
    paths = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(paths) + "\n")
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


def test_the_wheel_installs_no_package_of_a_common_name(installed: Path, tmp_path: Path) -> None:
    code = f"from importlib.metadata import files; print(*(f.parts[0] for f in files({NAME!r})))"
    line = [installed / "python", "-c", code]
    tops = subprocess.check_output(line, text=True, cwd=tmp_path).split()
    packages = {top for top in tops if "." not in top}
    assert packages == set(PACKAGES)


def test_the_wheel_runs_a_study_beside_another_sweeps(installed: Path, tmp_path: Path) -> None:
    """W&B's package `sweeps`, as a user of wandb has it, is neither used nor written over."""
    python = installed / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", python]
    if subprocess.run([*pip, "install", "--no-deps", "sweeps==0.3.0"]).returncode:
        pytest.skip("needs the package index")
    where = [python, "-c", "import importlib.util as u; print(u.find_spec('sweeps').origin)"]
    theirs = Path(subprocess.check_output(where, text=True, cwd=tmp_path).strip())
    assert theirs.parents[1].name == "site-packages"
    checks = json.loads(run(installed, tmp_path, "doctor", "--json"))
    assert [one for one in checks if "another project" in one["found"]] == []
    assert "micro/rounds" in run(installed, tmp_path, "list", "studies")
    arm = "{name: pix2struct, set: {encoders: [pix2struct-micro@128]}}"
    changes = [f"explore={{kind: arms, axis: none, arms: [{arm}]}}", "base.recipe.prealign=null"]
    changes += [f"base.recipe.{stage}.steps=2" for stage in ("pretrain", "finetune")]
    study = ("micro/smoke", *(word for one in changes for word in ("--set", one)))
    run(installed, tmp_path, "run", *study, "--backend", "inline")
    table = run(installed, tmp_path, "table", *study, "--format", "csv")
    assert "pix2struct" in table
    assert list((tmp_path / "home" / "reports").glob("**/index.html"))
