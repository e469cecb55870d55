"""The studies of the paper: every candidate builds as published, every proxy fits a GPU for a day.

All is built without memory: encoders once each, fusions and projectors for every candidate. What
the encoders give and how large the language models are is held in tests/encoders and tests/model.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from ablate.catalog import published
from ablate.commands.cost_estimate import CostEstimate
from ablate.commands.study_status import survey
from ablate.config.study import load_study, study_names
from ablate.cost import estimate as cost
from ablate.design import Design, encoder_spec, llm_spec
from ablate.encoders.build import build_encoder
from ablate.model.mixture import Mixture
from fusion_zoo import FeatureMap, Instruction, LanguageShape
from fusion_zoo.connectors import CONNECTORS

STUDIES = [name for name in study_names() if name.startswith("eagle/")]
OURS = ["adapters", "axes", "connectors", "injection", "outputs", "routing", "tiling"]
"""What the paper does not vary."""
AXES = [f"eagle/{name}" for name in OURS]
PAPER = [name for name in STUDIES if "/proxy/" not in name and name not in AXES]
TABLES = ["resolution", "experts", "fusion", "prealign", "stages", "rounds", "released"]
OLDER = ["resolution", "experts", "fusion", "prealign", "rounds"]
"""What the paper's first version has otherwise than the ICLR version."""
WIDTHS = {
    "clip-l14@448": 1024,
    "convnext-xxl@1024": 3072,
    "sam-l@1024": 1024,
    "eva02-l16-det@1024": 1024,
    "pix2struct-l@1024": 1536,
    "dinov2-l14-reg@448": 1024,
}


def test_there_is_a_study_for_every_published_table_and_a_proxy_for_each() -> None:
    older = [f"eagle/v1/{name}" for name in OLDER]
    assert sorted(PAPER) == sorted([f"eagle/{name}" for name in TABLES] + older)
    assert sorted(STUDIES) == sorted(PAPER + AXES + [f"eagle/proxy/{name}" for name in TABLES])


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in AXES else name for name in STUDIES],
)
def test_a_study_is_planned_without_weights_and_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATE_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path / "nothing"))
    bill = CostEstimate(survey(name, []))
    assert all(bill.costs.values())


@pytest.mark.parametrize("name", PAPER)
def test_a_study_follows_the_published_recipe(name: str) -> None:
    """Batch, rates, 3 % warm-up, cosine, no weight decay, one epoch, in every candidate."""
    for one in survey(name, []).candidates:
        pretrain, finetune = one.recipe.pretrain, one.recipe.finetune
        assert (pretrain.batch_size, finetune.batch_size) == (256, 128)
        assert finetune.data == ("sft-934k" if "/v1/" in name else "sft-1.8m")
        assert pretrain.train["projector"] == (2e-4 if one.llm == "yi-34b" else 1e-3)
        assert set(finetune.train.values()) == {2e-5}
        assert finetune.train.keys() >= {"llm", "projector"}
        for stage in one.recipe.stages().values():
            epochs = 2.0 if (one.name, stage) == ("2 epochs", finetune) else 1.0
            assert (stage.epochs, stage.steps, stage.weight_decay) == (epochs, None, 0.0)
            assert (stage.schedule, stage.warmup) == ("cosine", 0.03)
    assert load_study(name).infra.gradient_checkpointing


@pytest.mark.parametrize("name", PAPER)
def test_a_study_names_its_published_table_and_the_rows_there_are(name: str) -> None:
    """Every row of it, but for those of other models in the table of the released ones."""
    study = load_study(name)
    assert study.published is not None
    table = published.table(study.published)
    rows = {row.name for row in table.rows}
    given = set(study.explore.published_rows.values())
    if name.endswith("rounds"):
        assert not given  # each candidate is held against the row of its mixture
        families = [encoder_spec(title).family for title in study.explore.shelf(study.base)]
        given = {one.name for one in table.rows if set(one.encoders) <= experts(families)}
    if name == "eagle/released":
        given |= {row for row in rows if "Eagle" not in row or row.endswith("table 6")}
    assert given == rows


def experts(families: list[str]) -> set[str]:
    """The experts of these families, as the paper calls them."""
    named = published.book().experts.items()
    return {name for name, own in named if set(own) & set(families)}


def test_the_search_is_from_the_two_best_alone_to_six_and_was_from_one_in_version_1() -> None:
    study, older = load_study("eagle/rounds"), load_study("eagle/v1/rounds")
    assert (study.base.encoders, study.rounds) == (("clip-l14@448", "convnext-xxl@1024"), 5)
    assert (older.base.encoders, older.rounds) == (("clip-l14@448",), 6)
    alone = published.table("T3_experts")
    scores = {row.name: alone.cell(row.name, "Avg") or 0.0 for row in alone.rows}
    assert sorted(scores, key=scores.__getitem__)[-2:] == ["CLIP, unfrozen", "ConvNeXt, unfrozen"]
    assert all(one.base.recipe.prealign is None for one in (study, older))


def test_eagle_1_8m_has_fourteen_parts_and_the_934k_are_its_first_eight() -> None:
    data = load_study("eagle/rounds").data
    whole, half = data["sft-1.8m"].mix, data["sft-934k"].mix
    counts = [665, 39, 50, 28, 25, 15, 100, 11, 220, 150, 120, 20, 70, 300]
    asked = {name: round((part.rows or 0) * part.weight / 1000) for name, part in whole.items()}
    assert list(asked.values()) == counts
    assert list(half) == list(whole)[:8]
    assert sum(counts[:8]) == 933
    assert sum(counts) == pytest.approx(1809, abs=5)  # the paper's own sum
    both = data["pairs-and-sft-2.4m"].mix
    assert list(both) == ["pretrain-595k", *whole]


def test_both_wordings_of_the_joint_stage_are_arms() -> None:
    study = load_study("eagle/prealign")
    joint = {
        name: set(one.recipe.pretrain.train)
        for name, one in study.explore.designs(study.base, ()).items()
        if one.recipe.prealign
    }
    assert joint.pop("unfrozen, pre-aligned, v1's joint stage") == {"projector", "fusion"}
    assert set(map(frozenset, joint.values())) == {frozenset(("projector", "fusion", "encoders"))}


def keys(name: str, *overrides: str) -> dict[str, str]:
    """What each candidate's evaluation is known by, and each expert's pre-alignment."""
    found = survey(name, overrides)
    last = {one.name: found.chains[one.name][-1].key for one in found.candidates}
    return last | {step.slug: step.key for step in found.steps if step.kind == "prealign"}


def test_what_several_studies_have_in_common_is_done_once() -> None:
    rounds, fusion, prealign = (keys(f"eagle/{name}") for name in ("rounds", "fusion", "prealign"))
    resolution, alone, older = (
        keys(f"eagle/{name}") for name in ("resolution", "experts", "v1/rounds")
    )
    assert resolution["CLIP 448"] == alone["CLIP"]
    assert resolution["CLIP 448, frozen"] == alone["CLIP, frozen"]
    pair = "clip-l14@448+convnext-xxl@1024"
    assert rounds[pair] == fusion["Channel Concat"] == prealign["unfrozen"]
    assert older[pair] == keys("eagle/v1/fusion")["Channel Concat"] != rounds[pair]
    aligning = (
        "base.recipe.prealign={data: sft-1.8m, epochs: 1.0, batch_size: 128, "
        "group_by_length: true, train: {projector: 2e-5, encoders: 2e-5}}"
    )
    aligned = keys("eagle/rounds", aligning)
    experts_ = [title for title in WIDTHS if "dinov2" not in title]  # in no arm of table 5
    assert all(aligned[title] == prealign[title] for title in experts_)


@cache
def seen(title: str) -> torch.nn.Module:
    """The expert without memory, giving maps of its shape (tests/encoders holds it to that)."""
    with torch.device("meta"):
        encoder = build_encoder(encoder_spec(title), load_weights=False)
        maps = [FeatureMap(torch.empty(1, *shape)) for shape in encoder.shapes]
    encoder.maps = lambda pixels: maps
    return encoder


def designs() -> Iterator[Design]:
    known = set()
    for name in STUDIES:
        for one in survey(name, []).candidates:
            built = one.model_dump_json(include={"encoders", "fusion", "llm", "connector"})
            if built not in known:
                known.add(built)
                yield one


def test_every_candidate_of_every_study_builds_as_published() -> None:
    """Widths and tokens; 1,024 tokens on 32x32 but where resolution or sequences are varied."""
    for one in designs():
        with torch.device("meta"), torch.no_grad():
            mixture = Mixture(
                [seen(title) for title in one.encoders],
                one.fusion.name,
                one.fusion.grid,
                one.fusion.options,
                one.recipe.feature_norm,
                LanguageShape(llm_spec(one.llm).width, llm_spec(one.llm).layers),
            )
            width = llm_spec(one.llm).width
            said = Instruction(torch.empty(1, 2, width), torch.ones(1, 2, dtype=torch.bool))
            segments = mixture(torch.zeros(1, 3, 1024, 1024), said)
            fusion, options = mixture.fusion, {**one.connector}
            projector = CONNECTORS.build(
                options.pop("name"), fusion.segments, fusion.grids, width, **options
            )
            tokens = projector(segments, said)
        found = cost.model_cost(one)
        assert tokens.shape == (1, found.visual_tokens, width), one
        assert sum(p.numel() for p in mixture.fusion.parameters()) == found.fusion.parameters
        assert sum(p.numel() for p in projector.parameters()) == found.projector.parameters
        if one.fusion.name == "channel_concat" and one.fusion.grid == (32, 32):
            channels = sum(encoder_spec(title).width for title in one.encoders)
            assert [tuple(segment.shape) for segment in segments] == [(1, 1024, channels)]


def test_the_mixtures_of_the_paper_have_the_published_channels() -> None:
    mixtures = {one.encoders for one in load_study("eagle/released").designs}
    channels = [sum(encoder_spec(title).width for title in mixture) for mixture in mixtures]
    assert sorted(set(channels)) == [6656, 7680]
    assert {title: encoder_spec(title).width for title in WIDTHS} == WIDTHS
    last = survey("eagle/rounds", []).rounds[-1].candidates[0]
    assert set(last.encoders) == WIDTHS.keys()


@pytest.mark.parametrize("name", [name for name in STUDIES if "/proxy/" in name])
def test_a_proxy_fits_one_gpu_for_a_day(name: str) -> None:
    """An H100, but for the 5.5 B parameters of InternViT trained, which take an H200."""
    gpu = "h200" if name.endswith("resolution") else "h100"
    found = survey(name, [])
    bill = CostEstimate(found, gpu)
    assert bill.totals()["gpu_hours"] < 24
    assert [bill.remedy(step) for step in found.steps] == [""] * len(found.steps)
