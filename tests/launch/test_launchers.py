"""What holds of every launcher, ours and other packages'; nothing but its folder knows its name."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import core_fakes
import launcher_toys
import pytest
from in_process import ablate, faked

from ablate.catalog import launchers
from ablate.commands import doctor
from ablate.config.infra import Infra
from ablate.config.study import load_study
from ablate.errors import UserError
from ablate.launch.launcher import Launcher
from ablate.launch.registry import every, launcher, of_drive

PACKAGE = Path(launchers.__file__).parents[1]
SHORT = [
    *("--set", "base.recipe.prealign=null", "--set", "seeds=[0]"),
    *("--set", "explore={kind: rounds, rounds: 1, pool: [pix2struct-micro@128]}"),
]


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of the documentation, installed; its module's file."""
    launcher_toys.install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    launcher_toys.forget()
    yield tmp_path / "site" / "my_package" / "quiet.py"
    launcher_toys.forget()
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", launchers.names())
def test_a_launcher_keeps_what_is_promised_of_it(name: str, tmp_path: Path) -> None:
    found = launcher(name)
    assert isinstance(found, Launcher)
    assert found.name == name
    assert (found.__doc__ or "").partition("\n")[0].endswith(".")
    assert "infra" in found.more_memory
    assert found.submissions(tmp_path).submitted() == {}
    assert found.submissions(tmp_path).ask([]) == {}
    assert found.submissions(tmp_path).logs("0") == []
    assert list(found.workers(tmp_path)) == []
    assert bool(found.Options) == found.remote  # what has a queue is told what to ask it for
    assert bool(found.requests(Infra(device="cpu"), ["finetune", "driver"], 2)) == found.remote
    if found.Options:
        assert Infra.model_validate({name: {}}).options(name) == found.Options()
        assert Infra().options(name) == found.Options()


@cache
def names_in(path: Path) -> set[str]:
    """The words of a file that may name a launcher: its strings, and the modules it imports."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Constant(value=str(text)):
                found.add(text)
            case ast.ImportFrom(module=str(module)):
                found.add(module)
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
    return found


@pytest.mark.parametrize("name", launchers.names())
def test_nothing_outside_its_folder_names_a_launcher(name: str) -> None:
    own = PACKAGE / "launch" / name
    allowed = {PACKAGE / "catalog" / "launchers.py"} if name == launchers.DEFAULT else set()
    for path in sorted(PACKAGE.rglob("*.py")):
        if own in path.parents or path in allowed:
            continue
        said = names_in(path)
        assert name not in said, path
        package = f"ablate.launch.{name}"
        assert not [one for one in said if f"{one}.".startswith(f"{package}.")], path


def test_only_the_launcher_of_a_drive_is_imported_for_it(own_home: Path) -> None:
    code = """
import sys
from ablate.commands import status
status.show("micro/smoke", [], False)
print(*(name for name in sys.modules if name.startswith("ablate.launch.")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    last = done.stdout.splitlines()[-1].split()
    assert [one for one in last if one.count(".") > 2] == []


def test_a_launcher_is_listed_offered_and_examined(outside: Path) -> None:
    rows = json.loads(ablate("list", "launchers", "--json").out)
    assert [row["launcher"] for row in rows] == launchers.names()
    assert rows[-1] == {
        "launcher": "quiet",
        "options": "infra.quiet",
        "description": "Chains in this process, begun while the machine is quiet.",
    }
    assert "quiet" in {one.check for one in doctor._launchers()}
    env = {**os.environ, "PYTHONPATH": str(outside.parents[1])}
    line = [sys.executable, "-m", "ablate", "run", "--help"]
    said = subprocess.run(line, env=env, capture_output=True, text=True, check=True).stdout
    assert "inline|local|ray|slurm|quiet" in "".join(said.split())


def test_its_options_are_checked_as_ours_are(outside: Path) -> None:
    assert load_study("micro/smoke", ["infra.quiet.load=2.5"]).infra.options("quiet").load == 2.5
    with pytest.raises(UserError, match=r"infra\.quiet\.lod: unknown key; did you mean 'load'"):
        load_study("micro/smoke", ["infra.quiet.lod=2"])
    with pytest.raises(UserError, match=r"infra\.quit: unknown key; did you mean 'quiet'"):
        load_study("micro/smoke", ["infra.quit.load=2"])
    with pytest.raises(UserError, match=r"infra\.local: unknown key"):
        load_study("micro/smoke", ["infra.local.load=2"])
    plain = load_study("micro/smoke").infra
    told = load_study("micro/smoke", ["infra.quiet.load=2.5"]).infra
    assert told.for_steps() == plain.for_steps()
    assert told.job_signature("finetune") != plain.job_signature("finetune")


def test_the_documented_launcher_runs_a_study_to_its_report(outside: Path, own_home: Path) -> None:
    load = ["--set", "infra.quiet.load=1000.0"]
    with faked(core_fakes.EXECUTORS):
        answer = ablate("run", "micro/smoke", *SHORT, *load, "--backend", "quiet")
    assert answer.code == 0, answer.err
    assert "report: " in answer.out
    assert list(own_home.glob("reports/**/index.html"))


def test_an_unknown_name_is_told_with_the_nearest_of_all(outside: Path) -> None:
    for word, near in ("quit", "quiet"), ("slrm", "slurm"):
        answer = ablate("run", "micro/smoke", "--backend", word)
        assert answer.code == 2
        assert answer.err == f"ablate: no backend '{word}'; did you mean '{near}'?\n"


@pytest.mark.parametrize("source", ["1 / 0", "from my_package import nothing"])
def test_a_launcher_that_cannot_be_imported_is_one_line_and_stops_no_other(
    outside: Path, source: str
) -> None:
    outside.write_text(source)
    answer = ablate("run", "micro/smoke", "--backend", "quiet")
    assert answer.code == 2
    assert "backend 'quiet' of my-package 0.1 cannot be loaded" in answer.err
    found = {one.check: one for one in doctor._launchers()}
    assert found["quiet"].status == "problem"
    assert "slurm" in found


def test_a_drive_says_whose_it_is(tmp_path: Path) -> None:
    assert of_drive(tmp_path, "inline").name == "inline"
    assert of_drive(tmp_path, None).name == launchers.DEFAULT
    assert {one.name for one in every()} == set(launchers.names())
