"""`ablate bake` leaves weights that load, with cards; and the shipped ones keep their promises."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from in_process import ablate, conforms

from ablate.bake import run
from ablate.bake.encoder import COURSES
from ablate.bake.heads import HEADS
from ablate.bake.language import probe_language
from ablate.catalog import llms
from ablate.catalog.bake_targets import TARGETS
from ablate.catalog.encoders import resolve
from ablate.catalog.micro_encoders import WEIGHTS
from ablate.encoders.build import build_encoder
from ablate.encoders.tensors import load_module
from ablate.errors import UserError
from ablate.files import sha256_file
from ablate.model.language import load_llm, load_tokenizer

MICRO = WEIGHTS / "micro"
SKILL = {
    "convnext-micro": "pattern",
    "eva02-micro": "dots",
    "pix2struct-micro": "digit",
    "sam-micro": "level",
    "dinov2-micro": "shape",
}


def context(folder: Path, target: str, steps: int) -> SimpleNamespace:
    return SimpleNamespace(
        spec={"target": target, "seed": 0, "steps": steps},
        work=folder,
        progress=lambda *_: None,
        log=lambda _: None,
        truncate_log=lambda _: None,
    )


def test_baked_encoder_loads_and_its_card_has_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.bake.probe.PAGES", 16)
    card = run.bake(context(tmp_path, "clip-micro", 2))
    weights = tmp_path / "clip-micro.safetensors"
    assert card == json.loads((tmp_path / "clip-micro.json").read_text())
    assert card["sha256"] == sha256_file(weights)
    load_module(build_encoder(resolve("clip-micro"), load_weights=False), weights, card["sha256"])


def test_bake_prints_where_weights_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablate.bake.probe.PAGES", 16)
    monkeypatch.setitem(TARGETS, "clip-micro", 2)
    told = ablate("bake", "clip-micro", "--json")
    assert told.code == 0, told
    conforms(made := json.loads(told.out), "bake")
    assert (Path(made["clip-micro"]) / "clip-micro.safetensors").is_file()


def test_baked_language_model_loads_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "LAYOUTS", {1: "one token a cell"})
    monkeypatch.setattr(run, "probe_language", partial(probe_language, count=20))
    card = run.bake(context(tmp_path, "llama-micro", 2))
    assert set(card["exact_answers"]["one token a cell"]) >= {"abl_vqa", "abl_ocr"}
    spec = llms.resolve(str(tmp_path / "llama-micro"))
    assert load_llm(spec).dtype == torch.float32
    assert load_tokenizer(spec).decode(load_tokenizer(spec)("KAX")["input_ids"]) == "KAX"


def test_unknown_target_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'clip-micro'"):
        run.bake(context(tmp_path, "clip-mirco", 2))


def card(name: str) -> dict:
    path = MICRO / name / "card.json" if name == "llama-micro" else MICRO / f"{name}.json"
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", sorted(COURSES))
def test_shipped_encoder_is_the_one_of_its_card(name: str) -> None:
    assert card(name)["sha256"] == sha256_file(MICRO / f"{name}.safetensors")
    build_encoder(resolve(name))


@pytest.mark.parametrize("name", sorted(HEADS))
def test_shipped_heads_are_those_of_their_card_and_right_of_most_cells(name: str) -> None:
    assert card(name)["sha256"] == sha256_file(MICRO / f"{name}.safetensors")
    assert min(card(name)["right_cells"].values()) > 0.9


@pytest.mark.parametrize(("name", "attribute"), SKILL.items())
def test_shipped_expert_has_a_skill_that_the_base_lacks(name: str, attribute: str) -> None:
    mine, base = card(name)["probe"][attribute], card("clip-micro")["probe"][attribute]
    assert mine > base + 0.3
    assert mine > card(name)["probe_untrained"][attribute] + 0.2


def test_shipped_language_model_answers_every_family_from_perfect_text() -> None:
    assert min(card("llama-micro")["exact_answers"]["one token a cell"].values()) >= 0.9


def test_shipped_weights_stay_small() -> None:
    assert sum(file.stat().st_size for file in MICRO.rglob("*.safetensors")) < 16e6
