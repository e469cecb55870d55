"""A model that looks at images in several views: each becomes as many tokens as its size says."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import doc_examples
import numpy as np
import pytest
import torch
from pairs import covering
from test_connected import told
from torch import Tensor

import fusion_zoo
from ablate.config.study import load_study
from ablate.data.batch import IMAGE_TOKEN_ID, Batch
from ablate.data.collate import collate, cut_images
from ablate.data.dataset import Sample
from ablate.errors import UserError
from ablate.model.mllm import Mllm
from ablate.model.parts import load_parts, save_parts
from ablate.search.explore import rounds_so_far
from ablate.store.results import NoResults
from ablate.store.steps import steps_for
from ablate.train.objectives.sft import Sft
from fusion_zoo.tilings import TILINGS

Make = Callable[..., Mllm]
IMAGE = IMAGE_TOKEN_ID
MIXTURE = ("clip-micro@32", "pix2struct-micro@64")
ROWS = [[3, IMAGE, 5, 6], [4, 8], [IMAGE, 3, IMAGE, 11, 12]]
SIZES = [(100, 60), (40, 40), (30, 90)]
FEW: Mapping[str, Mapping[str, Any]] = {
    "internvl": {"max_tiles": 4},
    "internlm_xcomposer": {"max_tiles": 3},
    "llava_uhd": {"max_slices": 4},
    "s2": {"scales": 2},
}
"""Options with which a tiny language model has room."""
TILED = {name: {"name": name, **FEW.get(name, {})} for name in TILINGS.names()}


def drawn(size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    draw = np.random.default_rng(sum(size))
    return draw.integers(0, 256, (3, *size[::-1]), dtype=np.uint8)


def batch_of(model: Mllm, rows: list[list[int]], sizes: list[tuple[int, int]]) -> Batch:
    """Rows of token ids, with an image of the next size at every IMAGE."""
    ids = [np.array(row, dtype=np.int32) for row in rows]
    batch = collate([Sample(row, row > 0, []) for row in ids])
    pixels, seen = cut_images([drawn(size) for size in sizes], model.tiles)
    owners = [n for n, row in enumerate(rows) for token in row if token == IMAGE]
    return replace(batch, pixels=pixels, sizes=seen, image_rows=torch.tensor(owners).long())


def loss_of(model: Mllm, batch: Batch) -> Tensor:
    return Sft()(*model(batch))


@pytest.fixture(scope="session")
def roomy_llm(llm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny language model with a context for fusions of many tokens."""
    folder = shutil.copytree(llm_folder, tmp_path_factory.mktemp("roomy") / "tiny")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 512}))
    return folder


@pytest.mark.parametrize(
    ("fusion", "name"), covering(product(fusion_zoo.names(), TILED), others=pytest.mark.slow)
)
def test_every_fusion_learns_and_answers_under_every_tiling(
    make_model: Make, roomy_llm: Path, fusion: str, name: str
) -> None:
    tiling = TILED[name]
    chosen = {"fusion": fusion, "options": told(fusion, fusion_zoo), "llm": roomy_llm}
    if name == "s2" and None in make_model(*MIXTURE, **chosen).mixture.fusion.grids:
        with pytest.raises(UserError, match="s2 puts maps on top of each other, but this fusion"):
            make_model(*MIXTURE, tiling=tiling, **chosen)
        return
    model = make_model(*MIXTURE, tiling=tiling, **chosen).train()
    batch = batch_of(model, ROWS, SIZES)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    losses = []
    for _ in range(3):
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    if model.projector.grid and model.tiles.tiling.marks:  # else no row of tokens ends
        assert (model.projector.marks.grad != 0).any(1).all()
    model.eval()
    answers = model.generate(batch, 4, [])
    assert [len(answer) for answer in answers] == [4, 4, 4]
    if model.sees_each_question:
        return
    with torch.no_grad():
        visual = model.see(batch.pixels, batch.sizes)
    assert [len(one) for one in visual] == model.tiles.lengths(3, batch.sizes).tolist()
    assert answers == model.generate(batch, 4, [], visual=visual)


@pytest.mark.parametrize(
    ("connector", "grid"),
    [
        ({"name": "pooling"}, (2, 2)),
        ({"name": "qformer", "queries": 3, "inner": 16, "layers": 1, "heads": 2}, None),
        ({"name": "qformer", "queries": 3, "inner": 16, "heads": 2, "instruction": True}, None),
    ],
    ids=["pooled", "queries", "asked"],
)
def test_what_a_connector_makes_of_each_view_is_put_together(
    make_model: Make, connector: dict[str, Any], grid: tuple[int, int] | None
) -> None:
    model = make_model(*MIXTURE, grid=4, connector=connector, tiling={"name": "anyres"})
    assert model.projector.grid == grid
    batch = batch_of(model, ROWS, SIZES)
    loss_of(model, batch).backward()  # type: ignore[no-untyped-call]
    together = model.generate(batch, 4, [])
    assert together[0] == model.generate(batch_of(model, [ROWS[0]], SIZES[:1]), 4, [])[0]


@pytest.mark.parametrize("tiling", TILED.values(), ids=TILED)
def test_images_of_unlike_sizes_together_are_as_each_alone(
    make_model: Make, tiling: dict[str, Any]
) -> None:
    model = make_model(*MIXTURE, tiling=tiling)
    batch = batch_of(model, ROWS, SIZES)
    together = [model(batch).logits[n] for n in (0, 2)]
    with torch.no_grad():
        for n, sizes in ((0, SIZES[:1]), (2, SIZES[1:])):
            alone = model(batch_of(model, [ROWS[n]], sizes))
            own = model(batch).targets[n] != -100
            found = together[n // 2][own]
            kept = alone.targets[0] != -100
            torch.testing.assert_close(found, alone.logits[0][kept], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("fusion", ["question_gate", "cross_attention"])
@pytest.mark.parametrize("name", ["anyres", "s2"])
def test_a_fusion_that_asks_or_injects_is_given_all_views(
    make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fusion: str
) -> None:
    doc_examples.install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    model = make_model(*MIXTURE, fusion=fusion, tiling={"name": name, **FEW.get(name, {})})
    with torch.no_grad():  # gates are shut at the start
        for parameter in model.mixture.fusion.parameters():
            parameter.normal_(std=0.5)
    batch = batch_of(model, ROWS, SIZES)
    loss_of(model, batch).backward()  # type: ignore[no-untyped-call]
    together = model.generate(batch, 5, [])
    alone = [
        model.generate(batch_of(model, [ROWS[n]], sizes), 5, [])[0]
        for n, sizes in ((0, SIZES[:1]), (1, []), (2, SIZES[1:]))
    ]
    assert together == alone
    last = batch.pixels.clone()
    last[-1] = 255 - last[-1]  # of the last image the last view
    changed = model(replace(batch, pixels=last)).logits
    assert not torch.equal(changed[2], model(batch).logits[2])
    assert torch.equal(changed[:2], model(batch).logits[:2])


@pytest.mark.parametrize("tiling", TILED.values(), ids=TILED)
def test_all_parts_work_in_lockstep_where_there_is_no_image(
    make_model: Make, tiling: dict[str, Any]
) -> None:
    model = make_model(*MIXTURE, tiling=tiling)
    model.in_lockstep = True
    seen: list[int] = []
    model.projector.register_forward_pre_hook(lambda module, given: seen.append(1))
    assert loss_of(model, batch_of(model, [[4, 8]], [])) > 0
    assert seen == [1]


def test_the_tokens_of_a_tiling_belong_to_the_projector(make_model: Make, tmp_path: Path) -> None:
    model, other = (make_model(tiling={"name": "anyres"}, seed=seed) for seed in (1, 2))
    plain = make_model()
    assert {*model.projector.state_dict()} - {*plain.projector.state_dict()} == {"marks"}
    assert model.projector.marks.shape == (1, 32)
    assert not torch.equal(model.projector.marks, other.projector.marks)
    save_parts(model, tmp_path, ["projector"])
    load_parts(other, tmp_path, ["projector"])
    assert torch.equal(model.projector.marks, other.projector.marks)


def test_one_view_of_the_whole_is_what_is_seen_without_a_tiling(make_model: Make) -> None:
    plain = make_model()
    tiled = make_model(tiling={"name": "internvl", "max_tiles": 1})
    image = drawn((32, 32))
    pixels, sizes = cut_images([image], tiled.tiles)
    whole = plain.see(torch.from_numpy(image)[None])
    torch.testing.assert_close(tiled.see(pixels, sizes), whole)


@pytest.mark.parametrize(
    ("tiling", "fusion", "said"),
    [
        (
            {"name": "internvl", "max_tiles": 40},
            "channel_concat",
            "in tiles .internvl. makes up to 164 tokens of an image; take fewer tiles",
        ),
        ({"name": "windows", "rows": -1}, "channel_concat", "tiling 'windows': 2 columns and -1"),
    ],
)
def test_a_tiling_that_cannot_be_is_told(
    make_model: Make, tiling: dict[str, Any], fusion: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        make_model(tiling=tiling, fusion=fusion)


def test_a_tiling_of_another_package_cuts_learns_and_is_in_keys(
    make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc_examples.install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    model = make_model(*MIXTURE, tiling={"name": "fovea"})
    batch = batch_of(model, ROWS, SIZES)
    assert len(batch.pixels) == 3 * (1 + 9)
    assert model.tiles.lengths(3, batch.sizes).tolist() == [9, 9, 9]
    loss_of(model, batch).backward()  # type: ignore[no-untyped-call]
    assert (model.projector.marks.grad != 0).any()
    with pytest.raises(UserError, match="tiling 'fovea': 4 by 4 tiles have none in the middle"):
        make_model(tiling={"name": "fovea", "times": 4})
    study = load_study("micro/smoke", ["base.tiling=fovea"])
    first = rounds_so_far(study, NoResults())[0].candidates[0]
    steps = [step for step in steps_for(first, study) if "tiling" in step.spec.get("model", {})]
    assert [step.kind for step in steps] == ["pretrain", "finetune"]
    assert all(step.spec["plugins"]["tiling fovea"]["version"] == "1" for step in steps)
