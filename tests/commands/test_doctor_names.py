"""`ablate doctor` names what other projects put where our packages are."""

import sys
from pathlib import Path

import pytest

from ablate.commands import doctor
from ablate.config import distribution
from ablate.launch.finding import packages


def installed(folder: Path, name: str, package: str, tops: str | None = None) -> None:
    """What pip leaves of a distribution `name` that brings `package`."""
    info = folder / f"{name}-0.2.3.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.2.3\n")
    (info / "RECORD").write_text(f"{package}/__init__.py,,\n{name}-0.2.3.dist-info/METADATA,,\n")
    if tops is not None:
        (info / "top_level.txt").write_text(tops)


def findings() -> list[tuple[str, str, str]]:
    return [(one.check, one.found, one.remedy) for one in doctor._foreign()]


@pytest.mark.parametrize(
    ("name", "package", "tops"),
    [("ablate", "ablate", None), ("ablate", "x", "x\nablate\n"), ("other", "fusion_zoo", "")],
)
def test_another_project_in_our_package_is_a_problem_with_its_remedy(
    name: str, package: str, tops: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, name, package, tops)
    monkeypatch.syspath_prepend(tmp_path)
    ((check, found, remedy),) = findings()
    assert check == ("fusion_zoo" if name == "other" else "ablate")
    assert found.startswith(f"{name} 0.2.3, another project")
    assert f"`pip uninstall {name}`" in remedy
    assert distribution.NAME in remedy


def test_a_folder_that_hides_a_package_of_ours_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fusion_zoo").mkdir()
    (tmp_path / "fusion_zoo" / "__init__.py").write_text("")
    monkeypatch.delitem(sys.modules, "fusion_zoo", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert ("fusion_zoo", f"{tmp_path / 'fusion_zoo'} hides ours") in [
        one[:2] for one in findings()
    ]


def test_an_environment_of_our_own_has_no_strangers() -> None:
    assert findings() == []


def test_our_version_is_that_of_our_own_name() -> None:
    assert distribution.installed_version() is not None
    (ours, *_) = (one for one in packages() if one.check == "ablate")
    assert ours.found == f"{distribution.NAME} {distribution.installed_version()}"
