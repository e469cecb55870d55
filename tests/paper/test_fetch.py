"""`ablate fetch`: the list without a network, a fetch from a toy hub, and one that breaks off."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import datasets
import pytest
import torch
import yaml
from benchmark_toys import save
from hub_toys import COMMIT, ToyHub
from published_toys import DETECTOR, INTERN, LLM
from transformers import Dinov2Config, Dinov2Model

from ablate.catalog import benchmark_sets as benchmarks
from ablate.catalog import encoders, llms, suites
from ablate.catalog import weights as hub
from ablate.encoders.build import build_encoder
from ablate.errors import UserError
from ablate.files import read_json, sha256_file
from ablate.hub import download
from ablate.model.language import load_llm, load_tokenizer

STUDY = """
title: Toys
question: Is everything here?
base:
  encoders: [intern-toy@64, detector-toy]
  fusion: {name: channel_concat, grid: [4, 4]}
  llm: vicuna-toy
  recipe:
    pretrain: {data: pairs, steps: 1, batch_size: 2, train: {projector: 0.1}}
    finetune: {data: talks, steps: 1, batch_size: 2, train: {llm: 0.1}}
data:
  pairs:
    conversations: $ABLATE_DATA/pairs/chat.json
    images: $ABLATE_DATA/pairs/images
    rows: 6
    origin: someone/pairs
  talks:
    mix:
      forms:
        conversations: $ABLATE_DATA/forms/talks.jsonl
        rows: 3
        origin: forms.org, on request
suite: toys.yaml
explore: {kind: rounds, rounds: 2, pool: [intern-toy@32]}
"""
INTERN_FILE = "weights/someone/intern/model.safetensors.index.json"
DETECTOR_FILE = "weights/someone/eva/det/eva.safetensors"
LLM_FOLDER = "weights/someone/vicuna"
FETCHED = {
    INTERN_FILE,
    DETECTOR_FILE,
    LLM_FOLDER,
    "datasets/pairs/chat.json",
    "datasets/pairs/images",
    "datasets/benchmarks/pope",
}
BY_HAND = "datasets/forms/talks.jsonl"


@pytest.fixture
def mine(tmp_path: Path) -> str:
    """The study's file, beside a suite of one benchmark."""
    [pope] = [task for task in suites.resolve("eagle").tasks if task.task == "pope"]
    suite = {"title": "toys", "tasks": [{**pope.model_dump(), "questions": 4}]}
    (tmp_path / "toys.yaml").write_text(yaml.safe_dump(suite))
    (tmp_path / "study.yaml").write_text(STUDY)
    return str(tmp_path / "study.yaml")


@pytest.fixture
def full_hub(toy_hub: ToyHub, mine: str, tmp_path: Path) -> ToyHub:
    """The hub, with the data too."""
    pairs = toy_hub.folder("someone/pairs", "dataset")
    (pairs / "chat.json").write_text("[]")
    with ZipFile(pairs / "images.zip", "w") as archive:
        archive.writestr("images/00/a.png", b"a")
        archive.writestr("images/00/b.png", b"b")
    [task] = suites.resolve(str(tmp_path / "toys.yaml")).tasks
    save(task, tmp_path / "published")
    [split] = datasets.load_from_disk(str(tmp_path / "published" / "pope")).values()
    toy_hub.sets[benchmarks.hub(task)[:2]] = split
    return toy_hub


@pytest.fixture
def fetch(ablate: Any, mine: str, own_home: Path) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Fetches for the study; the exit code, and what it needs by its place in the home."""

    def call(*words: str) -> tuple[int, dict[str, Any]]:
        answer = ablate("fetch", mine, "--json", *words)
        needs = json.loads(answer.out)["needs"]
        return answer.code, {str(Path(need["place"]).relative_to(own_home)): need for need in needs}

    return call


def states(needs: dict[str, Any]) -> dict[str, str]:
    return {place: need["state"] for place, need in needs.items()}


def test_with_nothing_here_the_list_names_each_thing_once_with_its_origin_and_place(
    fetch: Any, full_hub: ToyHub, own_home: Path
) -> None:
    code, needs = fetch("--dry-run")
    assert code == 1
    assert states(needs) == dict.fromkeys({*FETCHED, BY_HAND}, "missing")
    assert needs[INTERN_FILE]["names"] == ["intern-toy@32", "intern-toy@64"]
    assert needs[DETECTOR_FILE]["origin"] == "someone/eva"
    assert needs[DETECTOR_FILE]["files"] == "det/eva.pth"
    assert needs["datasets/pairs/images"]["files"] == "images.zip"
    assert needs["datasets/benchmarks/pope"]["origin"] == "lmms-lab-encoder/POPE"
    assert needs[BY_HAND]["origin"] == "forms.org, on request"
    assert "by hand" in needs[BY_HAND]["reason"]
    assert full_hub.given == []
    assert not (own_home / "weights").exists()


def test_what_can_be_had_is_fetched_once_and_the_rest_is_listed(
    fetch: Any, full_hub: ToyHub, own_home: Path
) -> None:
    code, needs = fetch()
    assert code == 1
    assert states(needs) == {**dict.fromkeys(FETCHED, "fetched"), BY_HAND: "missing"}
    (own_home / BY_HAND).parent.mkdir()
    (own_home / BY_HAND).write_text("")
    full_hub.given.clear()
    code, needs = fetch()
    assert code == 0
    assert set(states(needs).values()) == {"here"}
    assert full_hub.given == []


def test_what_was_fetched_is_found_and_whole(fetch: Any, full_hub: ToyHub, own_home: Path) -> None:
    fetch()
    for spec in DETECTOR, INTERN:
        build_encoder(spec)
    fetched, shipped = load_llm(LLM).state_dict(), load_llm(llms.resolve("llama-micro"))
    assert all(torch.equal(fetched[name], one) for name, one in shipped.state_dict().items())
    assert load_tokenizer(LLM).chat_template
    images = own_home / "datasets" / "pairs" / "images"
    assert sorted(path.name for path in (images / "00").iterdir()) == ["a.png", "b.png"]
    [task] = suites.resolve(str(own_home.parent / "toys.yaml")).tasks
    assert len(benchmarks.read_set(task).questions) == 4


def test_pickles_become_safetensors_and_only_what_is_of_use_is_fetched(
    fetch: Any, full_hub: ToyHub, own_home: Path
) -> None:
    fetch()
    files = {path.name for path in own_home.rglob("*") if path.is_file()}
    assert not [
        name for name in files if name.endswith((".bin", ".pth", ".zip", ".bin.index.json"))
    ]
    assert not files & {"README.md", "consolidated.pth"}


def test_commit_and_checksum_of_what_was_fetched_are_noted_beside_it(
    fetch: Any, full_hub: ToyHub, own_home: Path
) -> None:
    fetch()
    folder = own_home / "weights" / "someone" / "eva"
    noted = read_json(folder / "fetched.json")
    assert noted["det/eva.safetensors"] == {
        "repository": "someone/eva",
        "revision": COMMIT,
        "sha256": sha256_file(folder / "det" / "eva.safetensors"),
    }
    published = full_hub.folder("someone/eva") / "det" / "eva.pth"
    assert noted["det/eva.pth"]["sha256"] == sha256_file(published)
    for place in "weights/someone/vicuna", "datasets/pairs", "datasets/benchmarks/pope":
        assert {one["revision"] for one in download.notes(own_home / place).values()} == {COMMIT}


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("model-1.safetensors", INTERN_FILE),
        ("det/eva.pth", DETECTOR_FILE),
        ("pytorch_model-1.bin", LLM_FOLDER),
        ("config.json", LLM_FOLDER),
        ("images.zip", "datasets/pairs/images"),
    ],
)
def test_a_connection_that_breaks_leaves_nothing_that_passes_for_whole(
    fetch: Any, full_hub: ToyHub, file: str, place: str
) -> None:
    full_hub.breaks_at = file
    _, needs = fetch()
    assert needs[place]["reason"].endswith("cannot be fetched: the connection broke")
    assert states(needs) == {
        **dict.fromkeys(FETCHED, "fetched"),
        **dict.fromkeys({place, BY_HAND}, "missing"),
    }
    before = set(full_hub.given)
    full_hub.breaks_at = None
    full_hub.given.clear()
    _, needs = fetch()
    assert needs[place]["state"] == "fetched"
    assert full_hub.given[0] == file
    assert not before & set(full_hub.given)


def test_killed_in_the_conversion_it_goes_on_without_the_network(
    ablate: Any, fetch: Any, mine: str, full_hub: ToyHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ablate.encoders.tensors.convert", killed)
        assert ablate("fetch", mine).code == 130
    assert full_hub.given == ["det/eva.pth"]
    _, needs = fetch("--dry-run")
    assert needs[DETECTOR_FILE]["state"] == "missing"
    monkeypatch.setattr(download, "unreachable", lambda: "no network")
    _, needs = fetch()
    assert needs[DETECTOR_FILE]["state"] == "fetched"
    assert needs[INTERN_FILE]["reason"] == "no network"
    assert download.notes(hub.weights_home() / "someone" / "eva").keys() == {
        "det/eva.pth",
        "det/eva.safetensors",
    }


def test_a_pickle_that_holds_code_is_refused_and_the_rest_is_fetched(
    fetch: Any, full_hub: ToyHub
) -> None:
    torch.save({"a": Path("x")}, full_hub.folder("someone/eva") / "det" / "eva.pth")
    _, needs = fetch()
    assert needs[DETECTOR_FILE]["state"] == "missing"
    assert needs[DETECTOR_FILE]["reason"].startswith("cannot read weights")
    assert needs[INTERN_FILE]["state"] == "fetched"


def test_what_the_hub_does_not_hold_under_that_name_is_said(
    fetch: Any, full_hub: ToyHub, own_home: Path
) -> None:
    for file in full_hub.folder("someone/pairs", "dataset").iterdir():
        file.unlink()
    _, needs = fetch()
    said = [needs[f"datasets/pairs/{name}"]["reason"] for name in ("chat.json", "images")]
    assert said[0].startswith("someone/pairs holds no chat.json: ")
    assert said[1].startswith("someone/pairs holds no images.zip: ")
    assert not (own_home / "datasets" / "pairs").exists()


def test_a_benchmark_of_another_size_is_not_put_in_place(
    fetch: Any, full_hub: ToyHub, own_home: Path
) -> None:
    full_hub.sets = {name: split.select([0, 1]) for name, split in full_hub.sets.items()}
    _, needs = fetch()
    assert "holds 2 questions, but pope has 4" in needs["datasets/benchmarks/pope"]["reason"]
    assert not (own_home / "datasets" / "benchmarks" / "pope").exists()


def test_a_benchmark_that_cannot_be_loaded_is_named(
    fetch: Any, full_hub: ToyHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", broken)
    _, needs = fetch()
    said = needs["datasets/benchmarks/pope"]["reason"]
    assert said == "lmms-lab-encoder/POPE cannot be fetched: Couldn't reach the Hub"


def test_images_that_hold_their_conversations_are_left_to_a_hand(
    fetch: Any, full_hub: ToyHub, mine: str
) -> None:
    """The folder would be there, and so seem whole, as soon as the conversations are."""
    Path(mine).write_text(
        STUDY.replace("images: $ABLATE_DATA/pairs/images", "images: $ABLATE_DATA")
    )
    _, needs = fetch()
    assert needs["datasets/pairs/chat.json"]["state"] == "missing"


def test_offline_it_lists_what_is_missing_without_asking(
    ablate: Any, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    answer = ablate("fetch", mine)
    assert answer.code == 1
    assert "$ABLATE_WEIGHTS/someone/eva/det/eva.safetensors" in answer.out
    assert "HF_HUB_OFFLINE is set:\n  encoder detector-toy@64, encoder intern-toy@32" in answer.out
    assert "study: 0 of 7 are here, 7 missing" in answer.out
    assert answer.err == ""


def test_a_hub_that_does_not_answer_is_asked_once(
    ablate: Any, mine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Silent:
        def head(self, url: str, timeout: float) -> None:
            asked.append(timeout)
            raise TimeoutError("timed out")

    monkeypatch.setattr("huggingface_hub.get_session", Silent)
    answer = ablate("fetch", mine)
    assert answer.code == 1
    assert "https://huggingface.co does not answer: timed out:" in answer.out
    assert asked == [download.PATIENCE]


def test_whatever_is_missing_the_error_names_the_command_that_gets_it(
    ablate: Any, mine: str, tmp_path: Path
) -> None:
    answer = ablate("run", mine)
    assert answer.code == 2
    assert "`ablate fetch STUDY` gets it, or says where it is from" in answer.err
    for broken in (
        lambda: build_encoder(DETECTOR),
        lambda: load_llm(LLM),
        lambda: benchmarks.require(suites.resolve(str(tmp_path / "toys.yaml"))),
    ):
        with pytest.raises(UserError, match="`ablate fetch STUDY`"):
            broken()


def test_before_anything_runs_missing_weights_are_listed_with_the_command(
    ablate: Any, fetch: Any, mine: str, full_hub: ToyHub, own_home: Path
) -> None:
    fetch()
    (own_home / BY_HAND).parent.mkdir()
    (own_home / BY_HAND).write_text("")
    for gone in INTERN_FILE, f"{LLM_FOLDER}/config.json":
        (own_home / gone).unlink()
    answer = ablate("run", mine)
    assert answer.code == 2
    assert answer.err == (
        "ablate: weights are missing: encoder intern-toy@32, intern-toy@64 "
        "(model.safetensors.index.json of someone/intern); llm vicuna-toy (weights, configuration, "
        f"tokenizer of someone/vicuna); `ablate fetch STUDY` gets them, to {own_home}/weights\n"
    )
    assert not (own_home / "drives").exists()


def test_a_missing_source_goes_by_its_name_in_the_study(ablate: Any, mine: str) -> None:
    said = ablate("run", mine).err
    assert "data is missing, 9 rows in all: pairs (6 rows): nothing at" in said
    assert "; forms (3 rows): nothing at" in said


def test_a_language_model_known_by_its_repository_alone_is_fetched_before_the_rest(
    ablate: Any, fetch: Any, mine: str, full_hub: ToyHub, own_home: Path
) -> None:
    full_hub.folder("someone/vicuna").rename(full_hub.folder("else/own-llm"))
    Path(mine).write_text(STUDY.replace("vicuna-toy", "else/own-llm"))
    assert "`ablate fetch STUDY` gets a repository from the hub" in ablate("plan", mine).err
    code, needs = fetch("--dry-run")
    assert (code, states(needs)) == (1, {"weights/else/own-llm": "missing"})
    assert "when what is missing is here" in ablate("fetch", mine, "--dry-run").err
    _, needs = fetch()
    got = (FETCHED - {LLM_FOLDER}) | {"weights/else/own-llm"}
    assert states(needs) == {**dict.fromkeys(got, "fetched"), BY_HAND: "missing"}
    _, needs = fetch()
    assert states(needs) == {**dict.fromkeys(got, "here"), BY_HAND: "missing"}
    assert ablate("plan", mine).code == 0


def test_a_tower_known_by_its_repository_alone_is_fetched_before_the_rest(
    ablate: Any, fetch: Any, mine: str, full_hub: ToyHub, own_home: Path
) -> None:
    folder = full_hub.folder("else/tower")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**sizes, image_size=28)).save_pretrained(folder)
    norm = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(norm))
    tower = "hf:else/tower@56"
    Path(mine).write_text(STUDY.replace("pool: [intern-toy@32]", f"pool: ['{tower}']"))
    assert f"encoder '{tower}': no config.json" in ablate("plan", mine).err
    code, needs = fetch("--dry-run")
    assert (code, states(needs)) == (1, {"weights/else/tower": "missing"})
    _, needs = fetch()
    got = FETCHED | {"weights/else/tower"}
    assert states(needs) == {**dict.fromkeys(got, "fetched"), BY_HAND: "missing"}
    assert ablate("plan", mine).code == 0
    assert build_encoder(encoders.resolve(tower)).shape == (32, 4, 4)


def test_a_study_of_what_comes_with_ablate_needs_nothing(ablate: Any) -> None:
    answer = ablate("fetch", "micro/rounds")
    assert answer.code == 0
    assert answer.out == "micro/rounds needs nothing that does not come with ablate\n"
