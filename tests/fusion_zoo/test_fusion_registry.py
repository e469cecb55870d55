"""Fusions are found by name, described and checked without torch, and refuse what cannot fit."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from fusion_toys import FUSIONS, SHAPES, ToyBase, build, random_maps

import fusion_zoo
from fusion_zoo import FeatureMap, MapShape, _registry


def test_the_five_published_fusions_are_there_and_described() -> None:
    published = ["channel_concat", "deformable", "llava_hr", "mini_gemini", "sequence_append"]
    assert set(published) <= set(fusion_zoo.names())
    assert all(len(fusion_zoo.describe(name)) > 20 for name in fusion_zoo.names())


def test_names_descriptions_and_options_need_no_torch() -> None:
    program = (
        "import sys, fusion_zoo as z; [(z.describe(n), z.options(n)) for n in z.names()];"
        "z.check('mini_gemini', {'window': 2}); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_fingerprint_follows_the_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = {name: fusion_zoo.fingerprint(name) for name in fusion_zoo.names()}
    assert len(set(before.values())) == len(fusion_zoo.names())
    other = tmp_path / "other.py"
    other.write_text("changed = True\n")
    monkeypatch.setattr(_registry.Registry, "file", lambda self, name: self.entry(name) and other)
    assert fusion_zoo.fingerprint("deformable") not in before.values()
    with pytest.raises(ValueError, match="no fusion 'deform'"):
        fusion_zoo.fingerprint("deform")


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("chanel_concat", {}, "no fusion 'chanel_concat'; did you mean 'channel_concat'?"),
        ("deformable", {"head": 4}, "has no option 'head'; did you mean 'heads'?"),
        ("llava_hr", {"heads": 4}, "has no option 'heads'; it takes none"),
        ("channel_concat", {"antialias": 1}, "'antialias' of fusion 'channel_concat' is bool"),
        ("mini_gemini", {"window": -1}, "window is 0 or more"),
        ("deformable", {"heads": 5}, "5 heads do not divide the base's 16 channels; 4 do"),
        ("deformable", {"points": 0}, "1 or more"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_choice(
    name: str, options: dict[str, object], line: str
) -> None:
    with pytest.raises(ValueError, match=line.replace("?", r"\?")) as error:
        fusion_zoo.build(name, SHAPES[:2], (4, 6), **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("word", "choices", "end"),
    [
        ("sorce", ("name", "source"), "; did you mean 'source'?"),
        (
            "scores",
            ("name", "source", "kind"),
            "; did you mean 'source', or another of kind, name?",
        ),
        ("scores", ("source",), "; did you mean 'source'?"),
        ("zzz", ("name", "source"), "; choose one of name, source"),
        ("scores", ("source", *map(str, range(16))), "; did you mean 'source'?"),
        ("scores", (), "; it takes none"),
    ],
)
def test_the_others_are_named_where_the_nearest_is_not_very_near(
    word: str, choices: Sequence[str], end: str
) -> None:
    assert fusion_zoo.nearest(word, choices) == end


@pytest.mark.parametrize("name", FUSIONS)
def test_maps_other_than_those_built_for_are_refused(name: str) -> None:
    fusion = build(name, SHAPES[:2], (4, 6))
    base = ToyBase(SHAPES[0])
    with pytest.raises(ValueError, match="built for 2 maps, given 1"):
        fusion(random_maps(SHAPES[:1]), base)
    with pytest.raises(ValueError, match="map 1: built for"):
        fusion(random_maps([SHAPES[0], MapShape(12, 12, 8)]), base)


@pytest.mark.parametrize("name", FUSIONS)
def test_no_maps_and_empty_sides_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="at least one map"):
        build(name, [], (4, 4))
    with pytest.raises(ValueError, match="below 1"):
        build(name, SHAPES[:2], (0, 4))


def test_a_fusion_inside_the_base_needs_a_base_on_its_grid() -> None:
    fusion = fusion_zoo.build("llava_hr", SHAPES[:2], (4, 6))
    for base in (None, ToyBase(MapShape(16, 6, 4))):
        with pytest.raises(ValueError, match=r"base on a \(4, 6\) grid"):
            fusion(random_maps(SHAPES[:2]), base)


def test_tokens_and_maps_turn_into_each_other_row_by_row() -> None:
    feature = FeatureMap(torch.arange(12.0).reshape(1, 2, 2, 3))
    assert feature.tokens()[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert torch.equal(FeatureMap.from_tokens(feature.tokens(), (2, 3)).tensor, feature.tensor)


def test_another_package_brings_a_fusion_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "guest_fusions.py").write_text(
        '"""Only the base, scaled."""\n'
        "from fusion_zoo import Fusion, Segment\n"
        "class Scaled(Fusion):\n"
        "    def __init__(self, shapes, grid, *, by: float = 1.0):\n"
        "        super().__init__(shapes, grid)\n"
        "        self.by = by\n"
        "        self.segments = (Segment(self.shapes[0].tokens, self.shapes[0].channels),)\n"
        "    def forward(self, maps, base=None):\n"
        "        return [maps[0].tokens() * self.by]\n"
    )
    info = tmp_path / "guest-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[fusion_zoo]\nscaled = guest_fusions:Scaled\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "scaled" in fusion_zoo.names()
    assert fusion_zoo.describe("scaled") == "Only the base, scaled."
    assert fusion_zoo.options("scaled") == {"by": 1.0}
    maps = random_maps(SHAPES[:1])
    fusion = fusion_zoo.build("scaled", SHAPES[:1], (4, 6), by=2)
    assert torch.equal(fusion(maps)[0], maps[0].tokens() * 2)
    assert not fusion_zoo.has_notes("scaled")
    with pytest.raises(ValueError, match="map 0: built for"):  # it looks at no shape itself
        fusion(random_maps([MapShape(16, 6, 4)]))


def test_whether_a_fusion_has_notes_is_known_from_its_source() -> None:
    have = [name for name in fusion_zoo.names() if fusion_zoo.has_notes(name)]
    assert have == [
        "coarse_to_fine",
        "mini_gemini",
    ]  # the first may have those of what it is made of
