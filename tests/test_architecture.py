"""The floors between packages hold: who imports whom, and what starts without heavy imports."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "lightning", "timm", "transformers", "lmms_eval", "matplotlib", "pandas")
LIGHT = (
    "ablate.cli",
    "ablate.study",
    "ablate.steps",
    "ablate.cost",
    "ablate.commands.planning",
    "ablate.search.rounds",
    "ablate.search.arms",
    "ablate.scheduler",
    "ablate.store",
    "ablate.readings",
    "ablate.launch",
    "ablate.hub",
    "ablate.download",
    "ablate.fetch",
    "ablate.encoders.registry",
    "ablate.encoders.cost",
    "ablate.model.llms",
    "ablate.data.fingerprint",
    "ablate.data.spec",
    "ablate.evaluate.suites",
    "ablate.evaluate.statistics",
    "ablate.evaluate.significance",
    "fusion_zoo",
)


@pytest.mark.parametrize("module", LIGHT)
def test_module_starts_without_heavy_imports(module: str) -> None:
    code = f"import sys, {module}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_import_contracts_hold() -> None:
    tool = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert tool, "import-linter is part of the dev extra"
    done = subprocess.run([tool], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
