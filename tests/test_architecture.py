"""The floors between packages hold: who imports whom, and what starts without heavy imports."""

import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "lightning", "timm", "transformers", "lmms_eval", "matplotlib", "pandas")
LIGHT = (
    *("cli", "commands", "config", "cost", "catalog", "design", "driver"),
    *("hub", "launch", "parsing", "search", "stats", "store", "strategies"),
    "evaluate/demo/page",  # whose heading stands before its models are read
)


def modules_in(room: str) -> list[str]:
    folder = ROOT / "ablate" / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files)
    return [name.removesuffix(".__init__") for name in names]


def test_rooms_of_the_light_half_start_without_heavy_imports() -> None:
    """One process starts all of them: what one imported would be there after it."""
    lines = ["import sys"]
    for room in LIGHT:
        lines.append(f"import {', '.join(['fusion_zoo', *modules_in(room)])}")
        lines.append(f"print({room!r}, *(m for m in {HEAVY!r} if m in sys.modules))")
    program = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(LIGHT)


def test_import_contracts_hold() -> None:
    tool = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert tool, "import-linter is part of the dev extra"
    done = subprocess.run([tool], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_no_module_imports_itself_through_others_nor_inside_a_function() -> None:
    graph = grimp.build_graph("ablate", "fusion_zoo", exclude_type_checking_imports=True)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(imports).prepare()  # CycleError names a circle


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest would import one for the other."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
