"""Closed and finished models beside candidates: asked what these are asked, and never chosen."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import core_fakes
import pytest
from in_process import ablate, faked
from packages import install_package

from ablate.config.study import load_study
from ablate.driver.frontier import Frontier
from ablate.errors import UserError
from ablate.evaluate.reference import evaluate_reference, model_class
from ablate.files import read_json, write_json
from ablate.reports import references, tables
from ablate.reports.fairness import check
from ablate.reports.load import load
from ablate.store.artifacts import Store
from ablate.store.references import reference_steps
from ablate.worker.process_group import StepRanks

FAKE_API = '''"""An API model that says one word, and counts what it is asked."""

import os
from pathlib import Path

from lmms_eval.api.model import lmms


class Fake(lmms):
    is_simple = True
    batch_size = 1

    def __init__(self, model_version="x", word="yes", log="", batch_size=1):
        super().__init__()
        if os.environ.get("FAKE_API_KEY") != "secret-of-mine":
            raise RuntimeError("FAKE_API_KEY is not set")
        self.word, self.log = word, Path(log)

    def generate_until(self, requests):
        answers = []
        for _, options, doc_to_visual, doc_id, task, split in (r.args for r in requests):
            [image] = doc_to_visual(self.task_dict[task][split][doc_id])
            assert image.size == (128, 128)
            answers.append(self.word)
        with self.log.open("a") as log:
            log.write(f"{task} {len(answers)}\\n")
        return answers

    def loglikelihood(self, requests):
        raise NotImplementedError

    def generate_until_multi_round(self, requests):
        raise NotImplementedError
'''
MANIFEST = """from lmms_eval.models.registry_v2 import ModelManifest

MODEL = ModelManifest(model_id="fake_api", simple_class_path="toy_api.fake.Fake")
"""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plug-in of lmms-eval; where it notes what it was asked."""
    import lmms_eval.models as models
    from lmms_eval.models.registry_v2 import ModelManifest

    offers = {"lmms_eval.models": {"fake_api": "toy_api.manifest:MODEL"}}
    modules = {"fake": FAKE_API, "manifest": MANIFEST}
    install_package(tmp_path / "site", "toy_api", modules, offers)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("FAKE_API_KEY", "secret-of-mine")
    monkeypatch.delitem(sys.modules, "toy_api.fake", raising=False)
    # As lmms-eval does with entry points, once, when it is first imported.
    manifest = ModelManifest(model_id="fake_api", simple_class_path="toy_api.fake.Fake")
    models.MODEL_REGISTRY_V2.register_manifest(manifest, overwrite=True)
    return tmp_path / "asked.log"


def study_file(tmp_path: Path, *references: dict[str, Any]) -> Path:
    path = tmp_path / "study.yaml"
    arms = [{"name": "base"}, {"name": "append", "set": {"fusion.name": "sequence_append"}}]
    explore = {"kind": "arms", "axis": "fusion", "arms": arms}
    fields = {"extends": "micro/smoke", "title": "t", "question": "q", "explore": explore}
    write_json(path, {**fields, "references": list(references)})
    return path


MISTAKES = {
    '{"name": "a"}': "give it a model of lmms-eval, or published numbers: one of the two",
    '{"name": "a", "model": "m", "published": "T/R"}': "one of the two",
    '{"name": "a", "published": {"VQA": 50}}': "numbers need their source",
    '{"name": "a", "published": {"VKA": 50}, "source": "s"}': "asks no 'VKA'; did you mean",
    '{"name": "a", "published": {"VQA": 500}, "source": "s"}': "VQA: a number in 0..100",
    '{"name": "a", "published": "nothing"}': "write it as TABLE/ROW",
    '{"name": "a", "model": "m", "model_args": "api_key=x"}': "looks like a secret",
    '{"name": "a", "model": "m", "model_args": "hf_token=x"}': "looks like a secret",
    '{"name": "a", "model": "m", "model_args": "x"}': "model_args are name=value",
    '{"name": "a", "kind": "candidate", "model": "m"}': "reference",
}


@pytest.mark.parametrize("written", MISTAKES)
def test_a_mistake_is_one_line(written: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load_study(str(study_file(tmp_path, json.loads(written))))
    assert MISTAKES[written] in str(error.value)
    assert "references" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_tokenizer_and_a_number_of_tokens_are_no_secrets(tmp_path: Path) -> None:
    arguments = "tokenizer=some/name,max_new_tokens=9"
    path = study_file(tmp_path, {"name": "a", "model": "m", "model_args": arguments})
    assert load_study(str(path)).references[0].model_args == arguments


def test_a_blank_suite_is_no_question_for_models_of_others(tmp_path: Path) -> None:
    path = study_file(tmp_path, {"name": "a", "model": "fake_api"})
    with pytest.raises(UserError, match="blanks images"):
        load_study(str(path), ["suite=micro-blind"])


def test_an_unknown_model_and_a_missing_package_are_one_line() -> None:
    with pytest.raises(UserError, match="lmms-eval knows no model 'llava_hg'; did you mean"):
        model_class("llava_hg")


def test_references_are_in_no_key_of_a_candidate_and_in_no_round(tmp_path: Path) -> None:
    plain = load_study(str(study_file(tmp_path)))
    beside = load_study(str(study_file(tmp_path, {"name": "a", "model": "x", "model_args": "b=1"})))
    assert {*plain.explore.designs(plain.base, ())} == {*beside.explore.designs(beside.base, ())}
    [step] = reference_steps(beside).values()
    assert step.kind == "reference"
    assert not step.parents
    assert set(step.spec) == {"model", "model_args", "suite"}
    other = {"name": "b", "model": "x", "model_args": {"b": 2}}
    assert reference_steps(load_study(str(study_file(tmp_path, other))))["b"].key != step.key


def test_a_local_checkpoint_counts_by_its_content(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.safetensors").write_text("x")
    written = {"name": "a", "model": "llava_hf", "model_args": f"pretrained={folder}"}
    study = load_study(str(study_file(tmp_path, written)))
    [before] = reference_steps(study).values()
    assert before.spec["checkpoint"]["sha256"]


@pytest.mark.slow
def test_a_study_shows_references_apart_to_its_report(
    tmp_path: Path, own_home: Path, api: Path
) -> None:
    shown = [
        {
            "name": "Closed",
            "kind": "reference",
            "model": "fake_api",
            "model_args": f"model_version=v1,word=yes,log={api}",
        },
        {"name": "Paper <b>", "published": {"POPE": 91.0, "VQA": 60.0}, "source": "a table"},
        {"name": "Broken", "model": "no_such_model"},
    ]
    path = study_file(tmp_path, *shown)
    with faked({**core_fakes.EXECUTORS, "preflight": core_fakes.passes}):
        planned = ablate("plan", str(path))
        done = ablate("run", str(path), "--backend", "inline")
        again = ablate("run", str(path), "--backend", "inline")
    assert "Paper <b>" in planned.out
    assert "SET APART" in planned.out
    assert done.code == 1
    assert "reference Broken: lmms-eval knows no model 'no_such_model'" in done.err
    assert again.code == 1
    assert len(api.read_text().splitlines()) == 8  # each task once, in both runs together
    study = load_study(str(path))
    known = load(study, own_home)
    by_name = {reference.name: reference for reference in known.references}
    closed = by_name["Closed"]
    assert closed.scores["abl_pope"] > 20  # it says yes to all
    assert closed.scores["abl_gqa"] == 0
    assert closed.interval is not None
    assert len(closed.answered) == 2
    assert by_name["Paper <b>"].composite is None
    assert by_name["Paper <b>"].interval is None
    assert by_name["Broken"].status == "failed"
    assert known.complete
    assert known.best is not None
    assert known.best.name in ("base", "append")
    assert "Closed" not in {candidate.name for candidate in known.candidates}
    frame = references.references(known)
    assert list(frame["reference"]) == ["Closed", "Paper <b>", "Broken"]
    assert any("Reference, set apart: Closed" in line for line in tables.notes(known))
    facts = [finding for finding in check(known) if finding.fact == "reference"]
    assert len(facts) == 3
    pages = {file.name: file.read_text() for file in own_home.glob("reports/*/**/*.html")}
    assert any("Paper &lt;b&gt;" in text for text in pages.values())
    assert not any("Paper <b>" in text for text in pages.values())
    everything = b"".join(file.read_bytes() for file in own_home.rglob("*") if file.is_file())
    assert b"secret-of-mine" not in everything
    [folder] = (own_home / "store" / "reference").iterdir()
    record = read_json(folder / "record.json")
    assert record["result"]["answered"][0] <= record["result"]["answered"][1]
    assert Frontier(study, None, Store(own_home), "x", lambda event: None).references


TEMPLATE = (
    "{% for message in messages %}<user>{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}<assistant>"
)
"""As processors of LLaVA have it: what is said in parts, of which an image is one."""


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA with random weights, in transformers' format."""
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    from ablate.bake.tokenizer import build_tokenizer

    folder = tmp_path_factory.mktemp("llava")
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    looks = CLIPVisionConfig(**small, num_attention_heads=2, image_size=32, patch_size=16)
    talks = LlamaConfig(vocab_size=len(tokenizer), **small, num_attention_heads=2)
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=looks, text_config=talks, image_token_id=image)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    side = {"shortest_edge": 32}
    pictures = CLIPImageProcessor(size=side, crop_size={"height": 32, "width": 32})
    LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder


def test_a_local_llava_is_asked_by_lmms_evals_own_class(
    llava: Path, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ModuleType("decord")  # of videos, which no question here shows
    reader.VideoReader = reader.cpu = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "decord", reader)
    written = {"name": "llava", "model": "llava_hf", "model_args": f"pretrained={llava}"}
    study = load_study(str(study_file(tmp_path, written)))
    [step] = reference_steps(study).values()
    suite = step.spec["suite"]
    two = [task for task in suite["tasks"] if task["task"] in ("abl_pope", "abl_ocr")]
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr("ablate.catalog.suites.require_same", lambda identity: None)
    ctx = SimpleNamespace(
        spec={**step.spec, "suite": {**suite, "tasks": two}},
        work=work,
        home=own_home,
        device="cpu",
        world=StepRanks(),
        infra={},
        drive=tmp_path / "no-driver",
        step_kind="reference",
        progress=lambda *far: None,
    )
    result = evaluate_reference(ctx)  # type: ignore[arg-type]
    assert set(result["scores"]) == {"abl_pope", "abl_ocr"}
    assert result["questions"] == 16
    rows = [json.loads(line) for line in (work / "answers.jsonl").read_text().splitlines()]
    assert len(rows) == 16
    assert any(row["answer"] for row in rows)
    assert result["answered"][0][:2] == "20"
