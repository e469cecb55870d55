"""What the encoders' tasks are taught is what was drawn, and each task can be learnt."""

from random import Random

import pytest
import torch

from ablate.bake.encoder import COURSES, train_encoder
from ablate.bake.heads import HEADS
from ablate.bake.pages import ATTRIBUTES, crowded_scene, draw_pages, draw_scenes
from ablate.bake.tasks import Instances, _redrawn, by_cell
from ablate.catalog.bake_targets import TARGETS
from ablate.data.world.scenes import GRID, KINDS, sample_scene


def test_labels_lie_in_the_cells_of_their_attributes() -> None:
    rng = Random(0)
    drawn = [sample_scene(kind, rng) for kind in KINDS]
    pages = draw_scenes(drawn, rng)
    for attribute, values in ATTRIBUTES.items():
        labels = pages.labels(attribute)
        for row, scene in enumerate(drawn):
            for index, label in enumerate(labels[row].tolist()):
                cell = scene.cells.get(divmod(index, GRID), {})
                assert cell.get(attribute) == (values[label] if label >= 0 else None)


@pytest.mark.parametrize("kind", KINDS)
def test_crowded_scene_fills_every_cell(kind: str) -> None:
    assert len(crowded_scene(kind, Random(0)).cells) == GRID * GRID


def test_by_cell_keeps_each_cells_own_pixels_in_order() -> None:
    maps = torch.arange(8 * 8).reshape(1, 1, 8, 8)
    parts = by_cell(maps)
    assert parts.shape == (1, GRID * GRID, 1, 4)
    assert parts[0, 0, 0].tolist() == [0, 1, 8, 9]
    assert parts[0, 5, 0].tolist() == [18, 19, 26, 27]


def test_redrawn_things_keep_their_outline_and_change_their_place() -> None:
    rng = Random(4)
    scene = crowded_scene("objects", rng)
    redrawn, places = _redrawn(scene, rng)
    assert len(places) == len(scene.cells) == len(redrawn.cells)
    assert all(scene.cells[a]["shape"] == redrawn.cells[b]["shape"] for a, b in places)
    assert sum(a == b for a, b in places) < len(places) / 2
    same = [scene.cells[a]["colour"] == redrawn.cells[b]["colour"] for a, b in places]
    assert not all(same)


def test_pages_of_training_and_held_out_digits_differ() -> None:
    one, two = (draw_pages(("document",), 2, Random(0), held_out=held) for held in (False, True))
    assert one.scenes == two.scenes
    assert not torch.equal(one.pixels, two.pixels)


def test_every_target_has_a_course() -> None:
    assert set(TARGETS) == {"llama-micro", *COURSES, *HEADS}


FIRST, *OTHERS = sorted(COURSES)


@pytest.mark.parametrize(
    "name", [FIRST, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_task_is_learnt_and_the_same_seed_gives_the_same_weights(name: str) -> None:
    losses: list[float] = []
    one = train_encoder(name, 0, 9, lambda step, metrics: losses.append(metrics["loss"]))
    if COURSES[name].task is not Instances:  # a contrast of hundreds of things starts slowly
        assert sum(losses[-3:]) < sum(losses[:3])
    short = [train_encoder(name, 1, 1, lambda *_: None).state_dict() for _ in range(2)]
    assert all(torch.equal(short[0][key], short[1][key]) for key in short[0])
    assert all(torch.isfinite(value).all() for value in one.state_dict().values())
