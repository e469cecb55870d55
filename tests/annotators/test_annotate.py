"""The step that annotates: once for all, and on from where it was killed."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import core_fakes
import doc_examples
import pytest
from in_process import ablate, faked
from packages import install_package, shown

from ablate.catalog.data_fingerprint import fingerprint
from ablate.catalog.data_sources import WorldData
from ablate.data.notes import read
from ablate.errors import UserError
from ablate.evaluate.annotate import annotate
from ablate.files import read_json, write_json
from ablate.worker.process_group import StepRanks

COUNTS = '''"""Says how red an image is, and counts the images it has seen."""

from pathlib import Path

from ablate.annotators import Annotator

TEMPLATE = "number {text}"


class Reds(Annotator):
    def __init__(self, *, log: str = "", dies_after: int = 0):
        self.log, self.dies_after = log, dies_after

    def load(self, device):
        """Nothing to load."""

    def annotate(self, images):
        log = Path(self.log)
        seen = int(log.read_text()) if log.exists() else 0
        if Path(self.log + ".dies").exists() and seen >= self.dies_after:
            raise RuntimeError("the machine went away")
        log.write_text(str(seen + len(images)))
        return [str(int(image[0].mean()) % 10) for image in images]
'''


@pytest.fixture
def reds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the toy annotator writes how many images it has seen."""
    offers = {"ablate.annotators": {"reds": "toy_reds.reds:Reds"}}
    install_package(tmp_path / "site", "toy_reds", {"reds": COUNTS}, offers)
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "seen"


@pytest.fixture
def study(tmp_path: Path, reds: Path) -> Path:
    """Two candidates that are shown the same, beside one that is not."""
    path = tmp_path / "study.yaml"
    outputs = [{"name": "reds", "log": str(reds), "dies_after": 32}]
    fields: dict[str, Any] = {
        "extends": "micro/smoke",
        "title": "t",
        "question": "q",
        "explore": {
            "kind": "arms",
            "axis": "output",
            "arms": [
                {"name": "none"},
                {"name": "shown", "set": {"outputs": outputs}},
                {"name": "appended", "set": {"outputs": outputs, "fusion.name": "sequence_append"}},
            ],
        },
    }
    write_json(path, fields)
    return path


def context(home: Path, spec: dict[str, Any], work: Path) -> SimpleNamespace:
    """What the worker gives an executor, alone."""
    return SimpleNamespace(
        home=home,
        spec=spec,
        work=work,
        infra={"micro_batch_size": 4},
        device="cpu",
        world=StepRanks(),
        progress=lambda done, total, note: None,
    )


def test_an_annotation_that_was_killed_goes_on_behind_its_last_whole_row(
    reds: Path, tmp_path: Path, own_home: Path
) -> None:
    choice = {"name": "reds", "log": str(reds), "dies_after": 8}
    source = WorldData(world="pairs", images=12, seed=1)
    data = {**source.model_dump(mode="json"), "fingerprint": fingerprint(source)}
    spec = {"annotator": choice, "weights": {}, "data": data}
    work, whole = tmp_path / "work", tmp_path / "whole"
    work.mkdir()
    whole.mkdir()
    Path(f"{reds}.dies").touch()
    with pytest.raises(RuntimeError, match="went away"):
        annotate(context(own_home, spec, work))
    notes = work / "notes.jsonl"
    assert len(notes.read_text().splitlines()) == 8
    notes.write_text(notes.read_text() + '{"set": "pairs", "of": "ima')
    Path(f"{reds}.dies").unlink()
    assert annotate(context(own_home, spec, work)) == {"images": 12}
    assert int(reds.read_text()) == 12
    annotate(context(own_home, spec, whole))
    assert notes.read_text() == (whole / "notes.jsonl").read_text()
    with pytest.raises(UserError, match="weights have changed"):
        annotate(context(own_home, {**spec, "weights": {"sha256": "other"}}, whole))


EXECUTORS = {**core_fakes.EXECUTORS, "preflight": core_fakes.passes}


@pytest.mark.slow
def test_a_study_whose_annotator_is_killed_goes_on_to_its_report_and_asks_once_of_each_image(
    study: Path, reds: Path, own_home: Path
) -> None:
    Path(f"{reds}.dies").touch()
    with faked(EXECUTORS):
        killed = ablate("run", str(study), "--backend", "inline")
    assert killed.code == 1
    assert "the machine went away" in killed.out + killed.err
    assert not list(own_home.glob("store/annotate/*"))
    Path(f"{reds}.dies").unlink()
    with faked(EXECUTORS):
        done = ablate("retry", str(study), "--backend", "inline")
    assert done.code == 0, done.err
    assert "report: " in done.out + done.err
    pairs, conversations, tested = 64, 64, 16
    assert int(reds.read_text()) == pairs + conversations + tested  # none of them twice
    folders = list(own_home.glob("store/annotate/*"))
    assert len(folders) == 3  # shared by both candidates
    [of_suite] = [folder for folder in folders if "micro-smoke" in folder.name]
    rows = [json.loads(line) for line in (of_suite / "notes.jsonl").read_text().splitlines()]
    assert len(rows) == 64
    assert {len(row["texts"]) for row in rows} == {1}
    assert {path.name for path in of_suite.iterdir()} == {
        *("notes.jsonl", "spec.json", "record.json", "manifest.json")
    }
    pages = "".join(path.read_text() for path in own_home.glob("reports/*/**/*.html"))
    assert "reds" in pages
    spec = [read_json(folder / "spec.json")["spec"] for folder in own_home.glob("store/finetune/*")]
    assert sorted(len(given.get("outputs", ())) for given in spec) == [0, 1, 1]


@pytest.mark.slow
def test_the_documented_example_runs_to_a_report(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc_examples.install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    path = tmp_path / "mine.yaml"
    path.write_text(shown("annotator", "yaml") + "title: t\nexplore: {rounds: 1}\n")
    with faked(EXECUTORS):
        done = ablate("run", str(path), "--backend", "inline")
    assert done.code == 0, done.err
    assert "report: " in done.out + done.err
    texts = [row for file in own_home.glob("store/annotate/*/notes.jsonl") for row in read(file)]
    assert {text for row in texts for text in row["texts"]} <= {"day", "night"}


@pytest.fixture(scope="module")
def trocr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny TrOCR with random weights, in transformers' format."""
    import torch
    from transformers import (
        TrOCRConfig,
        TrOCRProcessor,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessor,
    )

    from ablate.bake.tokenizer import build_tokenizer

    folder = tmp_path_factory.mktemp("trocr")
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    looks = ViTConfig(**size, num_attention_heads=2, image_size=32, patch_size=8)
    writes = TrOCRConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        max_position_embeddings=64,
        cross_attention_hidden_size=16,
        init_std=1.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(looks, writes)
    config.decoder_start_token_id = tokenizer.bos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    VisionEncoderDecoderModel(config).save_pretrained(folder)
    picture = ViTImageProcessor(size={"height": 32, "width": 32})
    TrOCRProcessor(picture, tokenizer).save_pretrained(folder)
    return folder


def test_a_model_of_transformers_speaks_by_its_own_class(trocr: Path) -> None:
    import numpy as np

    from ablate.catalog import annotators

    output = annotators.filled({"name": f"hf:{trocr}", "max_new_tokens": 6})
    assert output["template"] == "Text in the image: {text}"
    assert annotators.label(output) == f"hf:{trocr} max_new_tokens=6"
    annotator = annotators.build(annotators.annotator_of(output))
    cost = annotator.cost()
    assert cost is not None
    assert cost.parameters > 1000
    assert cost.flops > 1000
    annotator.load("cpu")
    images = [np.full((3, 40, 60), shade, dtype=np.uint8) for shade in (0, 255)]
    texts = list(annotator.annotate(images))
    assert [next(iter(annotator.annotate([image]))) for image in images] == texts
    assert any(texts)
    before = dict(annotator.weights())
    (trocr / "generation_config.json").write_text('{"max_length": 9}')
    assert dict(annotator.weights()) != before


@pytest.mark.parametrize("config", ['{"model_type": "bert"}', '{"model_type": "none"}', "nonsense"])
def test_a_folder_that_is_no_such_model_is_one_line(config: str, tmp_path: Path) -> None:
    """Where it is loaded, and before that where it is planned with."""
    from ablate.catalog import annotators

    (tmp_path / "config.json").write_text(config)
    annotator = annotators.build({"name": "hf", "model": str(tmp_path)})
    for ask in (annotator.cost, lambda: annotator.load("cpu")):
        with pytest.raises(UserError, match="cannot be loaded: ") as error:
            ask()
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_what_a_model_costs_that_is_not_here_is_that_of_its_published_configuration() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import Florence2Config, Florence2ForConditionalGeneration

    from ablate.annotators.hf import SIZES

    halves = {"attention_heads": 16, "ffn_dim": 4096, "layers": 12}
    words = {f"{half}_{name}": n for half in ("encoder", "decoder") for name, n in halves.items()}
    heads = [8, 16, 32, 64]
    config = Florence2Config(
        vision_config={
            "embed_dim": [256, 512, 1024, 2048],
            "num_heads": heads,
            "num_groups": heads,
            "depths": [1, 1, 9, 1],
            "projection_dim": 1024,
        },
        text_config={"model_type": "bart", "d_model": 1024, "vocab_size": 51289, **words},
    )
    config._attn_implementation = "eager"
    with torch.device("meta"):
        network = Florence2ForConditionalGeneration(config).eval().requires_grad_(False)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.model.vision_tower(torch.empty(1, 3, 768, 768))
        answer = torch.zeros(1, 64, dtype=torch.long)
        network.model.language_model(
            inputs_embeds=torch.empty(1, 585, 1024), decoder_input_ids=answer
        )
    known = SIZES["florence-community/Florence-2-large"]
    assert known.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert known.flops == counter.get_total_flops()
