"""The environment that `make` sets up is pinned to the last package, and so stays the same."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ablate.config.distribution import NAME
from tools import pins

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "constraints.txt").read_text(encoding="utf-8")
CUDA = ("nvidia-", "cuda-", "triton")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def installed() -> dict[str, str]:
    """What is installed beside us, by canonical name; of two versions the one that is imported."""
    found: dict[str, str] = {}
    for one in importlib.metadata.distributions():
        found.setdefault(str(canonicalize_name(one.metadata["Name"])), one.version)
    del found[NAME]
    return found


def pinned(*extra: str) -> dict[str, str]:
    """The pins for this machine; a CPU build of torch brings none of CUDA's packages."""
    cpu = "+cpu" in importlib.metadata.version("torch")
    found = pins.parse(TEXT, extra)
    return {name: found[name] for name in found if not (cpu and name.startswith(CUDA))}


def differences(have: dict[str, str], want: dict[str, str]) -> list[str]:
    """Every package that is not as pinned, in words."""
    return [
        f"{name}: {have.get(name, 'not')} installed, {want.get(name, 'not')} pinned"
        for name in sorted(have | want)
        if name not in have or name not in want or not agrees(have[name], want[name])
    ]


def agrees(version: str, pin: str) -> bool:
    return version in SpecifierSet(f"=={pin}", prereleases=True)  # `2.15.0+cpu` is a 2.15.0


def test_what_is_installed_is_what_is_pinned() -> None:
    assert differences(installed(), pinned()) == []


@pytest.mark.deepspeed
def test_deepspeeds_environment_is_pinned_too() -> None:
    assert differences(installed(), pinned("deepspeed")) == []


def test_a_package_that_came_went_or_changed_is_told() -> None:
    have = {"torch": "2.15.0+cpu", "came": "1", "changed": "4.3.1"}
    want = {"torch": "2.15.0", "went": "2", "changed": "3.32.7"}
    assert differences(have, want) == [
        "came: 1 installed, not pinned",
        "changed: 4.3.1 installed, 3.32.7 pinned",
        "went: not installed, 2 pinned",
    ]


def test_pins_name_packages_and_versions_and_no_place() -> None:
    lines = [line for line in TEXT.splitlines() if line and line[0] != "#"]
    for line in lines:
        assert re.match(r"[\w.-]+==[\w.!]+(; [^/]+)?$", line), line


def test_our_own_requirements_allow_what_is_pinned() -> None:
    extras = PROJECT["optional-dependencies"]
    apart = [need for extra in pins.APART for need in extras[extra]]
    wanted = map(Requirement, [*PROJECT["dependencies"], *extras["dev"], *apart])
    pin = pins.parse(TEXT, pins.APART)
    for need in wanted:
        assert pin[str(canonicalize_name(need.name))] in need.specifier, need


def report(*packages: dict[str, Any], python: str) -> pins.Resolved:
    """What pip reports of our package and these."""
    ours = {"name": "Ours", "version": "1", "requires_dist": ["a", 'b; sys_platform == "linux"']}
    ours["requires_dist"] += ['d; extra == "deepspeed"', 'a; extra == "small"']
    ours["requires_dist"] += ['e; extra == "small"']
    items = [{"metadata": ours, "download_info": {"dir_info": {}}}]
    items += [{"metadata": package, "download_info": {}} for package in packages]
    environment = {"sys_platform": "linux", "python_version": python}
    return pins.read({"install": items, "environment": environment})


def test_pins_say_for_which_python_and_system_they_are() -> None:
    a = {"name": "a", "version": "1"}
    newer = {"name": "a", "version": "2", "requires_dist": ["N-ew"]}
    b, d, e = ({"name": name, "version": f"{n}"} for n, name in enumerate("bde", 3))
    answers = {
        "3.11": report(a, b, d, e, python="3.11"),
        "3.12": report(a, b, d, e, python="3.12"),
        "3.13": report(newer, {"name": "N-ew", "version": "5"}, b, d, e, python="3.13"),
    }
    text = "".join(pins.pins(answers))
    base, apart = text.removeprefix(pins.HEAD).split(pins.APART["deepspeed"])
    apart, small = apart.split(pins.APART["small"])
    assert base.split("\n")[:-2] == [
        'a==1; python_version < "3.13"',
        'a==2; python_version >= "3.13"',
        'b==3; sys_platform == "linux"',
        'N-ew==5; python_version >= "3.13"',
    ]
    assert apart.split() == ["d==4"]
    assert small.split() == ["e==5"]
    assert not {"d", "e"} & pins.parse(text).keys()
    assert pins.parse(text, ["deepspeed"]).keys() - pins.parse(text).keys() == {"d"}
    assert pins.parse(text, ["small"])["e"] == "5"


def test_our_name_on_the_index_is_stated_alike() -> None:
    assert PROJECT["name"] == NAME


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 14, 0), (2, 7, 18)])
def test_make_refuses_another_python_in_one_line(version: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.version_info = {version}\n")
    (tmp_path / "constraints.txt").write_text("")
    (tmp_path / "pyproject.toml").write_text("")
    line = ["make", "-f", ROOT / "Makefile", "-C", tmp_path, "demo", f"PYTHON={sys.executable}"]
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(line, env=env, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode
    assert len(said) == 1
    assert f"this is {version[0]}.{version[1]}" in said[0]
    assert "PYTHON=python3.13" in said[0]
    assert not (tmp_path / ".venv").exists()
    assert SpecifierSet(PROJECT["requires-python"]) == SpecifierSet(">=3.11,<3.14")
