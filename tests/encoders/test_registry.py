import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.catalog import encoders as registry
from ablate.catalog import micro_encoders as micro
from ablate.catalog.encoders import EncoderSpec
from ablate.errors import UserError

OURS = [
    "clip-micro@32",
    "convnext-micro@128",
    "eva02-micro@128",
    "pix2struct-micro@128",
    "sam-micro@128",
    "dinov2-micro@64",
    "untrained-micro@128",
]


def test_the_micro_encoders_are_there_and_all_give_a_map_of_the_canvas_cells() -> None:
    specs = [spec for spec in registry.specs() if "-micro@" in spec.title]
    assert [spec.title for spec in specs] == OURS
    assert {spec.grid for spec in specs} == {(4, 4)}
    assert all(spec.task and spec.licence and spec.source for spec in specs)


def test_a_name_alone_means_the_default_resolution() -> None:
    assert registry.resolve("clip-micro") == registry.resolve("clip-micro@32")


def test_any_resolution_the_patches_allow_resolves_without_an_entry() -> None:
    spec = registry.resolve("eva02-micro@192")
    assert spec.title == "eva02-micro@192"
    assert spec.grid == (6, 6)


@pytest.mark.parametrize(
    ("title", "says"),
    [
        ("clip-mikro@32", "unknown encoder 'clip-mikro@32'; did you mean 'clip-micro@32'?"),
        ("resnet", "choose one of aimv2-1b@448, aimv2-3b@448"),
        ("clip-micro@36", "nearest are 32 and 40"),
        ("clip-micro@3", "nearest are 8 and 16"),
        ("eva02-micro@144", "multiples of 32; the nearest are 128 and 160"),
        ("clip-micro@big", "a resolution is a number, as in 'clip-micro@32'"),
        ("clip-micro@-32", "a resolution is a number"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_nearest_that_can(title: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        registry.resolve(title)
    assert says in str(caught.value)


def test_a_spec_survives_json() -> None:
    for spec in registry.specs():
        assert EncoderSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_json_holds_what_decides_the_result_and_nothing_else() -> None:
    values = registry.resolve("clip-micro").to_json()
    assert values.keys() >= {"family", "resolution", "mean", "architecture", "weights"}
    assert not values.keys() & {"task", "licence", "source"}


def test_an_encoder_without_a_pyramid_has_the_json_it_always_had() -> None:
    assert "pyramid" not in registry.resolve("convnext-micro").to_json()
    values = registry.resolve("convnext-micro-pyramid@64").to_json()
    assert values["pyramid"] == [[16, 64], [8, 32], [4, 16]]
    assert EncoderSpec.from_json(values).maps == [(128, 2, 2), (64, 4, 4), (32, 8, 8), (16, 16, 16)]


def test_json_with_a_wrong_field_is_refused() -> None:
    values = registry.resolve("clip-micro").to_json()
    with pytest.raises(UserError, match="unknown field 'colour'"):
        EncoderSpec.from_json({**values, "colour": 1})
    del values["family"]
    with pytest.raises(UserError, match="missing field 'family'"):
        EncoderSpec.from_json(values)


def test_the_checksum_of_shipped_weights_comes_from_their_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro, "WEIGHTS", tmp_path)
    assert registry.resolve("clip-micro").weights.sha256 is None
    (tmp_path / "micro").mkdir()
    (tmp_path / "micro" / "clip-micro.json").write_text('{"sha256": "abc"}')
    assert registry.resolve("clip-micro").weights.sha256 == "abc"


def test_another_package_adds_an_encoder_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        registry,
        "entry_points",
        lambda group: [EntryPoint("theirs", f"{__name__}:THEIRS", group)],
    )
    registry._known.cache_clear()
    try:
        assert registry.resolve("theirs-tiny@64").family == "clip"
        assert "theirs-tiny@48" in [spec.title for spec in registry.specs()]
    finally:
        registry._known.cache_clear()


def test_who_names_an_encoder_of_ours_imports_no_package_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = EntryPoint("theirs", "no_such_module_anywhere:SPECS", "ablate.encoders")
    monkeypatch.setattr(registry, "entry_points", lambda group: [broken])
    registry._known.cache_clear()
    try:
        assert registry.resolve("clip-micro").name == "clip-micro"
        assert registry.resolve("clip-micro@64").resolution == 64
        with pytest.raises(UserError, match="cannot be loaded"):
            registry.resolve("theirs-tiny")
    finally:
        registry._known.cache_clear()


def test_status_with_an_encoder_of_another_package_starts_without_torch(tmp_path: Path) -> None:
    """As the README has it: specs in a module of their own, the class in another."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    entry = re.search(r'^mine = "my_package\.(\w+):SPECS"', readme, re.MULTILINE)
    family = re.search(r'^mine = "my_package\.(\w+):MyEncoder"', readme, re.MULTILINE)
    assert entry
    assert family
    assert entry[1] != family[1]
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / f"{family[1]}.py").write_text(
        "import torch\nfrom ablate.encoders.dinov2 import DinoV2 as MyEncoder\n"
    )
    (package / f"{entry[1]}.py").write_text(
        "from dataclasses import replace\n"
        "from ablate.catalog.micro_encoders import SPECS as OURS\n"
        "SPECS = [replace(OURS[0], name='mine', family='mine')]\n"
    )
    info = tmp_path / "my_package-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(
        f"[ablate.encoders]\nmine = my_package.{entry[1]}:SPECS\n"
        f"[ablate.encoder_families]\nmine = my_package.{family[1]}:MyEncoder\n"
    )
    code = (
        "import sys; from ablate.__main__ import main\n"
        "sys.argv = ['ablate', 'status', 'micro/smoke', '--set', 'explore.pool=[mine]']\n"
        "try: main()\n"
        "finally: print('imported:', *({'torch', 'my_package'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "ABLATE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "clip-micro@32+mine@32" in done.stdout
    assert done.stdout.endswith("imported: my_package\n")


THEIRS = [replace(micro.SPECS[0], name="theirs-tiny", resolution=48)]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 300), st.integers(1, 3))
def test_patches_never_exceed_their_limit_and_unshuffle_evenly(
    rows: int, columns: int, limit: int, unshuffle: int
) -> None:
    values = registry.resolve("pix2struct-micro").to_json()
    limit = max(limit, 3 * unshuffle * unshuffle * max(rows, columns))
    spec = EncoderSpec.from_json({**values, "max_patches": limit, "unshuffle": unshuffle})
    step = spec.patch * unshuffle
    found = spec.patches(rows * step, columns * step)
    assert found[0] * found[1] <= limit
    assert found[0] % unshuffle == found[1] % unshuffle == 0
    assert min(found) >= 1
