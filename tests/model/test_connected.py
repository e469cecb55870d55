"""Models with every connector there is behind every fusion: they learn, answer and come back.

Shapes: B conversations, T text tokens, I images, D model width.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import filterfalse, product
from pathlib import Path
from typing import Any

import doc_examples
import pytest
import torch
from pairs import covering
from test_mllm import IMAGE, ROWS, batch_of, loss_of

import fusion_zoo
from ablate.config.study import load_study
from ablate.cost.estimate import model_cost
from ablate.errors import UserError
from ablate.files import write_json
from ablate.model.mllm import Mllm
from ablate.model.parts import save_parts
from ablate.search.explore import rounds_so_far
from ablate.store.results import NoResults
from ablate.store.steps import steps_for
from ablate.train.growing import grow
from fusion_zoo.connectors import CONNECTORS

Make = Callable[..., Mllm]
FORMER = {"queries": 3, "inner": 16, "layers": 2, "heads": 2}
SMALL: dict[str, dict[str, Any]] = {
    "c_abstractor": {"queries": 4, "inner": 16, "depth": 1},
    "coarse_to_fine": {"blocks": 2, "heads": 2, "head_width": 8},
    "d_abstractor": {"queries": 4, "inner": 16, "layers": 1, "heads": 2, "feed": 16},
    "expert_routing": {"blocks": 2, "heads": 2, "head_width": 8},
    "meq_former": FORMER,
    "qformer": {**FORMER, "instruction": True},
    "perceiver_resampler": {"queries": 3, "depth": 1, "heads": 2, "head_width": 8},
    "pixel_shuffle": {"gate": 16},
    "resampler2d": {"queries": 4, "heads": 2},
    "sva": {"inner": 16, "heads": 2, "depth": 1},
    "token_packer": {"inner": 16, "heads": 2},
    "sphinx": FORMER,
}
PLACELESS = {"interleave", "sphinx"}
"""Fusions some of whose tokens have no place in the image."""
PROJECTED = {"deepseek_vl", "interleave", "merv", "sphinx"}
"""Those whose tokens are of the language model's width."""
SPATIAL = {"c_abstractor", "d_abstractor", "pixel_shuffle", "pooling", "resampler2d", "sva"}
SPATIAL |= {"token_packer"}


def told(name: str, zoo: Any) -> dict[str, Any]:
    return zoo.options(name) | SMALL.get(name, {})


def misfit(pair: tuple[str, str]) -> str:
    """What is said where a fusion and a connector do not fit; empty where they do."""
    fusion, connector = pair
    if connector == "identity" and fusion not in PROJECTED:
        return "wide, not .* as the language model's; choose linear or mlp"
    if connector in SPATIAL and fusion in PLACELESS:
        return "tokens of the fusion have no places on a grid"
    if connector == "token_packer" and fusion == "expert_grids":
        return "segments on different grids"
    return ""


def connected(make_model: Make, fusion: str, connector: str) -> Mllm:
    return make_model(
        *("clip-micro@32", "dinov2-micro@128"),
        fusion=fusion,
        grid=4,
        norm="layer",
        options=told(fusion, fusion_zoo),
        connector={"name": connector, **told(connector, CONNECTORS)},
    )


PAIRS = list(product(fusion_zoo.names(), CONNECTORS.names()))


@pytest.mark.parametrize(("fusion", "connector"), [*filter(misfit, PAIRS)])
def test_a_pair_that_does_not_fit_says_why(make_model: Make, fusion: str, connector: str) -> None:
    why = misfit((fusion, connector))
    with pytest.raises(UserError, match=f"connector '{connector}': .*{why}"):
        connected(make_model, fusion, connector)


@pytest.mark.parametrize(
    ("fusion", "connector"), covering(filterfalse(misfit, PAIRS), others=pytest.mark.slow)
)
def test_every_pair_that_fits_learns_and_answers(
    make_model: Make, fusion: str, connector: str
) -> None:
    model = connected(make_model, fusion, connector)
    model.parts["encoders"].requires_grad_(False)
    learning = {name: one for name, one in model.named_parameters() if one.requires_grad}
    before = {name: one.detach().clone() for name, one in learning.items()}
    optimizer = torch.optim.SGD(learning.values(), lr=1e-2)
    batch = batch_of([[IMAGE, 3, 4, 5, 9, 12]])
    for _ in range(2):
        loss = loss_of(model, batch)
        assert loss.isfinite()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning.values(), 1.0)
        optimizer.step()
    for part in ("mixture.fusion", "projector"):
        own = [name for name in learning if name.startswith(f"{part}.")]
        assert not own or any(not torch.equal(learning[name], before[name]) for name in own)
    (answer,) = model.generate(batch_of([[IMAGE, 3]], left=True), 2, [])
    assert len(answer) == 2


def test_the_default_has_the_names_of_tensors_that_the_projector_had(make_model: Make) -> None:
    model = make_model("clip-micro@32", "dinov2-micro@64", fusion="sequence_append")
    assert list(model.projector.state_dict()) == [
        f"layers.{n}.{layer}.{kind}"
        for n in (0, 1)
        for layer in (0, 2)
        for kind in ("weight", "bias")
    ]


def test_a_connector_that_asks_sees_each_images_own_question(make_model: Make) -> None:
    chosen = {"name": "qformer", **told("qformer", CONNECTORS)}
    model = make_model(connector=chosen)
    assert model.sees_each_question
    batch = batch_of(ROWS, learn_from=4)
    before = model(batch).logits
    other = replace(batch, input_ids=batch.input_ids.clone())
    other.input_ids[0, 2] = 10  # asked in the first row
    learnt = model(other).logits
    assert not torch.allclose(learnt[0], before[0])
    torch.testing.assert_close(learnt[1:], before[1:])
    with pytest.raises(ValueError, match="differs by question"):
        model.generate(batch, 1, [], visual=[torch.zeros(3, 1)] * 3)


def test_a_deeper_mlp_grows_with_the_mixture(make_model: Make, tmp_path: Path) -> None:
    chosen = {"name": "mlp", "depth": 3}
    small = make_model("clip-micro@32", connector=chosen, seed=3)
    large = make_model("clip-micro@32", "dinov2-micro@64", connector=chosen, seed=4)
    save_parts(small, tmp_path, small.parts)
    write_json(tmp_path / "spec.json", {"spec": {"model": small.spec.to_json()}})
    grow(large, tmp_path, list(small.parts))
    batch = batch_of(ROWS)
    torch.testing.assert_close(large(batch).logits, small(batch).logits)


def test_the_connector_of_the_page_learns_from_its_entry_point_and_is_in_keys(
    make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc_examples.install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert "row_means" in CONNECTORS.names()
    model = make_model(grid=4, connector={"name": "row_means"})
    batch = batch_of(ROWS)
    loss_of(model, batch).backward()
    assert model.num_visual_tokens == 4
    assert all(one.grad is not None and one.grad.any() for one in model.projector.parameters())
    study = load_study("micro/smoke", ["base.connector=row_means"])
    assert model_cost(study.base).visual_tokens == 4
    candidate = rounds_so_far(study, NoResults(), 1)[0].candidates[0]
    trained = [step.spec for step in steps_for(candidate, study) if "model" in step.spec]
    with_it = [spec for spec in trained if "connector" in spec["model"]]
    assert with_it
    assert all(spec["plugins"]["connector row_means"]["version"] == "1" for spec in with_it)
