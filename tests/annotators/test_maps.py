"""Experts that draw: a map an image, made once, seen by an encoder of its own like any expert."""

import json
import subprocess
import sys
from collections.abc import Callable
from math import floor
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import core_fakes
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from in_process import ablate, faked
from PIL import Image

from ablate.annotators import MapAnnotator, Pixels
from ablate.bake.pages import draw_pages
from ablate.bake.tokenizer import build_tokenizer
from ablate.catalog import annotators, encoders, map_encoders
from ablate.catalog.annotators import ANNOTATORS
from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.data_sources import WorldData
from ablate.commands.study_status import survey
from ablate.config.study import load_study
from ablate.cost import encoders as encoder_cost
from ablate.cost.encoders import parameters
from ablate.data.chat import Chat
from ablate.data.dataset import Conversations
from ablate.data.images import as_array
from ablate.data.maps import Maps, laid_behind, packed
from ablate.data.notes import FILE, read
from ablate.data.tiles import Tiles
from ablate.encoders.build import build_encoder
from ablate.errors import UserError
from ablate.evaluate.annotate import Looks, Shown, annotate
from ablate.files import read_json
from ablate.hub.needs import needs
from ablate.model.mixture import Mixture, features
from ablate.search.explore import rounds_so_far
from ablate.store.results import NoResults
from ablate.store.steps import Step, steps_for
from ablate.worker.process_group import StepRanks
from ablate.worker.run import EXECUTORS

TITLE = "map:micro_kinds@64"
SEES = f"base.encoders=[clip-micro@32, {TITLE}]"


def pages(kind: str, count: int) -> tuple[list[Pixels], Any]:
    drawn = draw_pages((kind,), count, Random(5), crowded=0.0, held_out=True)
    return [(255 * page).round().byte().numpy() for page in drawn.pixels], drawn.scenes


@pytest.fixture(scope="module")
def depth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny DPT with random weights, in transformers' format."""
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessor

    folder = tmp_path_factory.mktemp("dpt")
    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
    )
    network = DPTForDepthEstimation(config)
    with torch.no_grad():  # behind it is a ReLU
        network.head.head[-2].weight.abs_().mul_(1e6)
    network.save_pretrained(folder)
    DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def drawers() -> list[str]:
    """Every annotator that draws without being told a model."""
    plain = [name for name in ANNOTATORS.names() if "model" not in ANNOTATORS.options(name)]
    return [name for name in plain if annotators.build({"name": name}).channels]


@pytest.fixture(scope="module", params=[*drawers(), "hf_depth"])
def drawer(request: pytest.FixtureRequest, depth: Path) -> MapAnnotator:
    model = {"model": str(depth)} if request.param == "hf_depth" else {}
    annotator = annotators.drawer({"name": request.param, **model})
    annotator.load("cpu")
    return annotator


def test_a_map_hangs_on_its_image_alone_and_has_the_channels_that_are_declared(
    drawer: MapAnnotator,
) -> None:
    images, _ = pages("objects", 4)
    images[1] = np.ascontiguousarray(images[1][:, :90])
    maps = list(drawer.draw(images))
    assert len(maps) == 4
    for image, drawn in zip(images, maps, strict=True):
        assert drawn.dtype == np.uint8
        assert drawn.ndim == 3
        assert len(drawn) == drawer.channels
        assert np.array_equal(drawn, drawer.draw([image])[0])
        stored = json.loads(json.dumps(packed(drawn, image)))
        whole = laid_behind(image, [stored], padded=False)
        assert whole.shape == (3 + drawer.channels, *image.shape[1:])
        assert np.array_equal(whole[:3], image)
        assert set(np.unique(whole[3:])) <= set(np.unique(drawn))
    assert len({drawn.tobytes() for drawn in maps}) > 1
    cost = drawer.cost()
    assert cost is not None
    assert cost.flops > cost.parameters > 1000
    assert json.dumps(dict(drawer.weights()))


def test_the_micro_map_has_things_where_they_were_drawn() -> None:
    annotator = annotators.drawer({"name": "micro_kinds"})
    annotator.load("cpu")
    images, scenes = pages("objects", 20)
    maps = annotator.draw(images)
    holds = [{(row, column) for row, column in scene.cells} for scene in scenes]
    right = [
        (drawn[0, row, column] == 0) == ((row, column) in there)
        for drawn, there in zip(maps, holds, strict=True)
        for row in range(4)
        for column in range(4)
    ]
    assert np.mean(right) > 0.9
    assert all((drawn[:4] == 255).sum() == 16 for drawn in maps)  # one kind a cell


def test_depth_goes_from_nothing_to_all_within_an_image(depth: Path) -> None:
    annotator = annotators.drawer({"name": "hf_depth", "model": str(depth)})
    annotator.load("cpu")
    [drawn] = annotator.draw([pages("objects", 1)[0][0]])
    assert drawn.shape == (1, 112, 112)
    assert (drawn.min(), drawn.max()) == (0, 255)
    absent = annotators.drawer({"name": "hf_depth", "model": "no/such"})
    with pytest.raises(UserError, match="annotator map:hf_depth:no/such"):
        absent.load("cpu")


SIDES = st.integers(1, 40)


@given(size=st.tuples(SIDES, SIDES), grid=st.tuples(SIDES, SIDES), canvas=st.none() | SIDES)
def test_each_pixel_has_what_the_map_has_at_its_middle(
    size: tuple[int, int], grid: tuple[int, int], canvas: int | None
) -> None:
    width, height = size
    rows, columns = grid
    drawn = np.arange(1, 1 + rows * columns, dtype=np.int64).reshape(1, rows, columns)
    drawn = (drawn % 255 + 1).astype(np.uint8)
    picture = Image.new("RGB", size)
    pixels = as_array(picture, canvas)
    whole = laid_behind(pixels, [packed(drawn, as_array(picture))], padded=canvas is not None)
    side = (max(size), max(size)) if canvas else (height, width)
    for y in range(pixels.shape[1]):
        for x in range(pixels.shape[2]):
            down = (2 * y + 1) * side[0] / (2 * pixels.shape[1]) - (side[0] - height) // 2
            across = (2 * x + 1) * side[1] / (2 * pixels.shape[2]) - (side[1] - width) // 2
            inside = 0 <= down < height and 0 <= across < width
            cell = floor(down * rows / height), floor(across * columns / width)
            assert whole[3, y, x] == (drawn[0][cell] if inside else 0)


MISTAKES = {
    "outputs=[micro_kinds]": "micro_kinds says nothing, it draws maps: name it among the encoders, "
    "as map:micro_kinds",
    "encoders=[clip-micro@32, map:micro_ocr]": "micro_ocr draws no map, it says a text: name it in",
    "encoders=[clip-micro@32, map:micro_kind]": "no annotator 'micro_kind'; did you mean 'micro_k",
    "encoders=[clip-micro@32, map:micro_kinds@big]": "a resolution is a number, as in 'map:micro_k",
    "encoders=[clip-micro@32, map:micro_kinds@70]": "its sides are multiples of 16",
    "encoders=[clip-micro@32, map:hf_depth]": "name its model, as in map:hf_depth:ORGANISATION/NA",
    "encoders=[clip-micro@32, map:micro_kinds:x/y]": "has no option 'model'",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_one_line_before_anything_starts(words: str) -> None:
    with pytest.raises(UserError) as error:
        load_study("micro/smoke", [f"base.{words}"])
    assert MISTAKES[words] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_map_that_cannot_be_learnt_tiled_or_drawn_is_refused() -> None:
    frozen = [f"base.recipe.{stage}.train={{projector: 1.0e-3}}" for stage in ("pretrain",)]
    frozen += ["base.recipe.prealign=null", "base.recipe.finetune.train={projector: 1.0e-3}"]
    with pytest.raises(UserError, match="begins at random, and no stage of the recipe trains"):
        load_study("micro/smoke", [SEES, *frozen])
    by_lora = "base.recipe.finetune.train={encoders: {lora: {rank: 2}, lr: 1.0e-4}}"
    with pytest.raises(UserError, match="whole or by the names of layers"):
        load_study("micro/smoke", [SEES, *frozen[:-1], by_lora])
    tiled = "base.tiling={name: internvl, max_tiles: 2}"
    with pytest.raises(UserError, match="takes no tiling, and this is internvl"):
        load_study("micro/smoke", [SEES, tiled])
    pool = "explore.pool=[map:micro_kinds]"
    with pytest.raises(UserError, match="takes no tiling, and this is internvl"):
        survey("micro/smoke", [tiled, pool])
    with pytest.raises(UserError, match="understands pages of the drawn world alone"):
        load_study("eagle/rounds", ["base.encoders=[clip-l14@448, map:micro_kinds]"])
    with pytest.raises(UserError, match="and its data is about others"):
        survey("eagle/rounds", [pool, "explore.rounds=2"])


def chain(*words: str) -> list[Step]:
    study = load_study("micro/smoke", [*words])
    return steps_for(rounds_so_far(study, NoResults())[0].candidates[0], study)


def test_maps_are_drawn_once_by_steps_that_candidates_share_and_are_in_keys() -> None:
    plain, sees, speaks = chain(), chain(SEES), chain("base.outputs=[micro_detector]")
    drawn = {step.key for step in sees if step.kind == "annotate"}
    assert len(drawn) == 3  # of pairs, conversations and the suite
    assert {step.slug for step in sees if step.key in drawn} == {
        *("micro_kinds of pairs", "micro_kinds of conversations", "micro_kinds of micro-smoke")
    }
    for step in sees:
        if step.kind != "annotate" and step.slug != "clip-micro@32":
            assert "annotate:micro_kinds" in step.parents
            assert "annotate:micro_kinds" not in step.trained_parents
    [alone, _] = [step for step in sees if step.kind == "prealign"]
    assert alone.key in {step.key for step in plain}
    assert not {step.key for step in sees if step.kind != "prealign"} & {s.key for s in speaks}
    assert sees[-1].key == chain(SEES)[-1].key


def test_what_maps_take_is_fetched_and_counted(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path))
    study = load_study("systems/prismer")
    assert [need.names for need in needs(study) if need.kind == "annotator"] == [
        ("hf_depth:Intel/dpt-large",)
    ]
    spec = encoders.resolve("map:hf_depth:Intel/dpt-large@448")
    assert (spec.grid, spec.width) == ((28, 28), 768)
    made = build_encoder(encoders.resolve(TITLE))
    assert parameters(made.spec) == sum(parameter.numel() for parameter in made.parameters())
    assert encoder_cost.flops(made.spec) > 1e5


def test_an_encoder_of_a_map_sees_it_alone_and_the_others_see_colours_alone() -> None:
    specs = [encoders.resolve(title) for title in ("clip-micro@32", TITLE)]
    clip, drawn = (build_encoder(spec) for spec in specs)
    mixture = Mixture([clip, drawn], "channel_concat", (4, 4), {}, "layer").eval()
    assert mixture.num_channels == 3 + drawn.channels
    torch.manual_seed(0)
    shown = torch.randint(0, 256, (2, mixture.num_channels, 128, 128), dtype=torch.uint8)
    other_map, other_colours = shown.clone(), shown.clone()
    other_map[:, 3:] = 255 - other_map[:, 3:]
    other_colours[:, :3] = 255 - other_colours[:, :3]
    base, of_map = features(clip, shown), features(drawn, shown)
    assert torch.equal(features(clip, other_map), base)
    assert torch.equal(features(drawn, other_colours), of_map)
    assert not torch.equal(features(drawn, other_map), of_map)
    [tokens] = mixture(shown)
    [again] = mixture(torch.cat([base, of_map], dim=1))  # as masks and kept features hand them
    assert torch.allclose(tokens, again, atol=1e-6)
    tokens.sum().backward()
    assert all(weight.grad is not None for weight in drawn.parameters())


def test_the_stem_is_prismers_but_for_the_norm() -> None:
    """Place by place in float64, after its released code."""
    made = build_encoder(encoders.resolve("map:micro_kinds@32")).double()
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn(weight.shape))
    seen = torch.rand(1, made.channels, 32, 32, dtype=torch.float64)
    weights = [weight.detach().numpy() for weight in made.parameters()]
    values = seen[0].numpy()
    assert [weight.shape[0] for weight in weights[::3]] == [8, 16, 32, 64, 64]
    for kernel, scale, shift in zip(weights[0:12:3], weights[1:12:3], weights[2:12:3], strict=True):
        side = values.shape[1] // 2
        bordered = np.pad(values, ((0, 0), (1, 1), (1, 1)))
        after = np.zeros((len(kernel), side, side))
        for y, x in np.ndindex(side, side):
            window = bordered[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
            after[:, y, x] = (kernel * window).sum((1, 2, 3))
        normed = (after - after.mean()) / np.sqrt(after.var() + 1e-5)
        values = np.maximum(0, normed * scale[:, None, None] + shift[:, None, None])
    wanted = np.einsum("oi,ihw->ohw", weights[12][:, :, 0, 0], values)
    with torch.no_grad():
        assert np.allclose(made(seen).tensor[0].numpy(), wanted, atol=1e-9)


def context(home: Path, work: Path, source: WorldData) -> Any:
    choice = {"name": "micro_kinds"}
    spec = {
        "annotator": choice,
        "weights": dict(annotators.build(choice).weights()),
        "data": {**source.model_dump(mode="json"), "fingerprint": fingerprint(source)},
    }
    world = StepRanks()
    work.mkdir()
    return SimpleNamespace(
        **{"home": home, "work": work, "spec": spec, "world": world, "device": "cpu", "infra": {}},
        progress=lambda done, total, note: None,
    )


def test_what_is_learnt_from_has_its_maps_behind_its_colours(
    own_home: Path, tmp_path: Path
) -> None:
    source = WorldData(world="conversations", images=4, seed=3)
    folder = tmp_path / "micro_kinds-1"
    assert annotate(context(own_home, folder, source)) == {"images": 4}
    rows = list(read(folder / FILE))
    maps = Maps([{"name": "micro_kinds"}], {"annotate:micro_kinds": folder}, padded=False)
    assert maps.identity == ["micro_kinds-1"]

    def conversations(maps: Maps | None) -> Conversations:
        chat, content = Chat(build_tokenizer()), fingerprint(source)
        return Conversations(
            source,
            content,
            chat,
            own_home / "data",
            max_length=1000,
            tiles=Tiles.whole(16),
            maps=maps,
        )

    plain, seen = conversations(None), conversations(maps)
    assert len(plain) == len(seen)
    for number in range(len(seen)):
        before, after = plain[number], seen[number]
        assert after.ids.tolist() == before.ids.tolist()
        [picture], [whole] = before.images, after.images
        drawn = [laid_behind(picture, row["maps"], padded=False) for row in rows]
        assert any(np.array_equal(whole, one) for one in drawn)
    assert {view.shape for view in seen.seen(seen.parts["conversations"])} == {whole.shape}
    with pytest.raises(UserError, match="no map of it was drawn"):
        maps.behind(np.zeros((3, 8, 8), dtype=np.uint8), "conversations", "images/none.png")


def test_an_annotator_that_draws_something_else_is_told() -> None:
    class Wrong(MapAnnotator):
        channels = 2

        def load(self, device: str) -> None:
            """Nothing to load."""

        def draw(self, images: Any) -> Any:
            return [np.zeros((3, 4, 4), dtype=np.uint8) for _ in images]

    grey: Callable[[], Any] = lambda: [np.zeros((3, 8, 8), dtype=np.uint8)]  # noqa: E731
    with pytest.raises(UserError, match=r"draws uint8 of \(3, 4, 4\), not uint8 of 2 channels"):
        Looks(Wrong()).of([Shown("data", "1", grey)])


def test_encoders_of_maps_are_named_without_torch() -> None:
    program = (
        "import sys; from ablate.catalog import encoders;"
        f"spec = encoders.resolve({TITLE!r}); assert spec.grid == (4, 4), spec;"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert map_encoders.drawn_by(encoders.resolve(TITLE)) == {"name": "micro_kinds"}


@pytest.mark.slow
def test_a_study_whose_expert_draws_trains_to_its_report(own_home: Path) -> None:
    words = ["explore.rounds=1", "base.encoders=[clip-micro@32, map:micro_kinds]"]
    words += [f"base.recipe.{stage}.steps=1" for stage in ("prealign", "pretrain", "finetune")]
    told = [word for setting in words for word in ("--set", setting)]
    with faked({**EXECUTORS, "preflight": core_fakes.passes}):
        done = ablate("run", "micro/smoke", "--backend", "inline", *told)
    assert done.code == 0, done.err
    assert len(list(own_home.glob("store/annotate/micro_kinds*"))) == 3
    [trained] = own_home.glob("store/finetune/*map-micro_kinds*")
    tables = read_json(trained / "parameters.json")
    assert any("micro_kinds" in row["part"] and row["trainable"] for row in tables)
    assert list(own_home.glob("reports/*/*/index.html"))
