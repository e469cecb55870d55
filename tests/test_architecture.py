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
    "ablate.config.study",
    "ablate.store.steps",
    "ablate.cost.estimate",
    "ablate.commands.plan",
    "ablate.search.greedy",
    "ablate.search.grid",
    "ablate.driver.scheduler",
    "ablate.store.artifacts",
    "ablate.store.read_cache",
    "ablate.launch.backends",
    "ablate.catalog.weights",
    "ablate.hub.download",
    "ablate.hub.needs",
    "ablate.catalog.encoders",
    "ablate.cost.encoders",
    "ablate.catalog.llms",
    "ablate.catalog.data_fingerprint",
    "ablate.catalog.data_sources",
    "ablate.catalog.suites",
    "ablate.stats.bootstrap",
    "ablate.stats.significance",
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
