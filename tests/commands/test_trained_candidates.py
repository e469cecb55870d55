"""What is done with a trained candidate: exported whole or not at all, masked, explained, asked."""

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import Answer, ablate, conforms
from PIL import Image
from safetensors.torch import load_file

from ablate.commands.demo import subject_of
from ablate.commands.trained import trained_candidate
from ablate.evaluate.demo.contender import Contender
from ablate.home import Home
from ablate.reports.model_card import model_card
from ablate.store.votes import Reply, tallies
from ablate.train.restore import load_trained

Export = Callable[..., Answer]
SHORT = [
    *("--set", "base.recipe.prealign=null"),
    *("--set", "base.recipe.pretrain.steps=1"),
    *("--set", "base.recipe.finetune.steps=1"),
    *("--set", "seeds=[0]"),
    *("--set", "explore={kind: rounds, rounds: 2, pool: [sam-micro@128]}"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a study of two candidates, of a step a stage, has ended."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATE_HOME", str(home))
        patch.setattr("ablate.commands.report.build", lambda study: "nowhere")
        assert ablate("run", "micro/smoke", "--backend", "inline", *SHORT).code == 0
    return home


@pytest.fixture
def export(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Calls the command on that home."""
    monkeypatch.setenv("ABLATE_HOME", str(trained))
    return lambda *words: ablate("export", *words, *SHORT)


def test_what_was_trained_is_in_the_folder_with_its_lineage(
    export: Export, trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "model"
    told = export("micro/smoke:base", str(folder))
    assert (told.code, told.out.strip()) == (0, str(folder))
    [finetuned] = Home(trained).store.glob("finetune/clip-micro@32.*")
    again = load_file(folder / "model.safetensors")
    whole = load_trained(finetuned).state_dict()
    assert whole.keys() - again.keys() == {"llm.lm_head.weight"}  # tied
    for name in whole.keys() & again.keys():
        assert torch.equal(again[name], whole[name]), name
    card = (folder / "README.md").read_text()
    assert "- `clip-micro@32`: image-text contrast; Apache-2.0; this project" in card
    assert "Study micro/smoke" in card
    assert "candidate clip-micro@32, seed 0" in card
    steps = Home(trained).store.glob("*/clip-micro@32.*")
    keys = [
        step.name.rpartition("-")[2]
        for step in steps
        if step.parent.name not in ("mask", "explain")
    ]
    assert len(keys) == 3
    assert all(f": `{key}" in card for key in keys)
    assert re.search(r"finetune: world conversations, images 64, seed 2; content `\w{12}`", card)
    assert re.search(r"\| mean +\| +\d+ \| +[\d.]+ \[", card)
    assert re.search(r"\| clip-micro@32\+sam-micro@128 \|", card.partition("### Compared with")[2])
    assert sorted(tmp_path.rglob(".*")) == []


def test_the_card_of_a_model_with_outputs_says_whose_words_it_is_to_be_given(
    export: Export,
) -> None:
    _, study, candidate, finetuned, _ = trained_candidate("micro/smoke:base", SHORT[1::2])
    outputs = [{"annotator": {"name": "micro_ocr"}}]
    speaking = dataclasses.replace(finetuned, spec={**finetuned.spec, "outputs": outputs})
    card = model_card(study, candidate, speaking, own_code=True)
    assert '    processor_kwargs={"outputs": OUTPUTS},\n)\n' in card
    assert "list of texts, those of micro_ocr, each empty where that says nothing" in card
    assert "OUTPUTS" not in model_card(study, candidate, finetuned, own_code=True)


def test_a_model_that_is_no_llava_is_told_so(export: Export, tmp_path: Path) -> None:
    told = export("micro/smoke:base", str(tmp_path / "new" / "model"), "--as", "llava")
    assert told.code == 2
    assert "is no LLaVA as transformers has it" in told.err
    assert sorted(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("named", "says"),
    [
        (
            "micro/smoke:clap-micro@32",
            "has no candidate 'clap-micro@32'; did you mean 'clip-micro@32'?",
        ),
        ("micro/smokes", "did you mean 'micro/smoke'?"),
    ],
)
def test_an_unknown_candidate_is_a_line(
    export: Export, tmp_path: Path, named: str, says: str
) -> None:
    told = export(named, str(tmp_path / "model"))
    assert told.code == 2
    assert says in told.err
    assert not list(tmp_path.glob("model*"))


def test_a_folder_that_exists_and_a_candidate_that_was_not_trained_are_refused(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "exists; name a folder that does not" in export("micro/smoke", str(tmp_path)).err
    monkeypatch.setenv("ABLATE_HOME", str(tmp_path / "empty"))
    told = ablate("export", "micro/smoke:base", str(tmp_path / "model"))
    assert told.code == 2
    assert "is not scored (waiting)" in told.err


BOTH = "micro/smoke:clip-micro@32+sam-micro@128"


@pytest.fixture
def use(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Calls any command on that home."""
    monkeypatch.setenv("ABLATE_HOME", str(trained))
    return lambda *words: ablate(*words, *SHORT)


def test_masks_are_a_step_that_is_made_once_and_a_page(use: Export, trained: Path) -> None:
    first = use("mask", BOTH, "--json")
    assert first.code == 0, first
    assert "3 masks of" in first.err
    found = json.loads(first.out)
    conforms(found, "mask")
    assert [row["expert"] for row in found["experts"]] == ["clip-micro@32", "sam-micro@128"]
    assert len(found["masks"]) == 3
    assert len(list(trained.glob("store/mask/*/record.json"))) == 1
    again = use("mask", BOTH, "--json")
    assert (again.out, again.err) == (first.out, "")
    said = use("mask", BOTH)
    assert "Conditional utilisation rate" in said.out
    assert use("mask", BOTH, "--by", "mean", "--backend", "inline").code == 0
    report = use("report", "micro/smoke")
    page = Path(report.out.strip()).with_name("redundancy.html").read_text()
    assert page.count("3 masks.") == 2
    assert use("status", "micro/smoke").code == 0


def test_there_is_nothing_to_mask_in_a_mixture_of_one(use: Export) -> None:
    told = use("mask", "micro/smoke:base")
    assert told.code == 2
    assert "is a mixture of one: there is none to mask" in told.err


def test_an_answer_is_explained_by_a_picture_and_by_shares(
    use: Export, trained: Path, tmp_path: Path
) -> None:
    row = json.loads(next(trained.glob("store/evaluate/*sam*/answers.jsonl")).open().readline())
    name, picture = f"{row['task']}/{row['id']}", tmp_path / "why.png"
    told = use(
        *("explain", BOTH, name, "--output", str(picture), "--json"),
        *("--against", "micro/smoke:base"),
    )
    assert told.code == 0, told
    found = json.loads(told.out)
    conforms(found, "explain")
    assert (found["question"], found["truth"]) == (row["question"], row["truth"])
    assert [len(one["shares"]) for one in found["candidates"]] == [2, 1]
    for one in found["candidates"]:
        assert sum(one["shares"].values()) == pytest.approx(100)
        assert np.array(one["maps"]["clip-micro@32"]).shape == (4, 4)
    with Image.open(picture) as image:
        assert image.height > 600
    assert "exists; name another" in use("explain", BOTH, name, "--output", str(picture)).err
    wrong = use("explain", BOTH, name[:-1], "--output", str(tmp_path / "b.png"))
    assert "no question" in wrong.err
    assert "did you mean" in wrong.err
    (tmp_path / "none.png").write_text("no image")
    told = use(
        *("explain", BOTH, "what is it", "--image", str(tmp_path / "none.png")),
        *("--output", str(tmp_path / "b.png")),
    )
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert "cannot be read as an image" in told.err


def test_explanations_are_steps_that_the_report_shows(use: Export, trained: Path) -> None:
    first = use("explain", BOTH, "--report", "--json")
    assert first.code == 0, first
    conforms(json.loads(first.out), "explain")
    chosen = json.loads(first.out)["answers"]
    assert set(chosen) == {"fixed", "broken", "wrong"}
    assert len(chosen["wrong"]) == 4
    again = use("explain", BOTH, "--report")
    assert (again.code, "answers of" in again.err) == (0, False)
    flips = len(chosen["fixed"]) + len(chosen["broken"])
    assert len(list(trained.glob("store/explain/*/record.json"))) == 1 + (flips > 0)
    report = Path(use("report", "micro/smoke").out.strip()).parent
    texts = [page.read_text() for page in report.glob("candidates/*.html")]
    assert sum("Where it looks" in text for text in texts) == 1 + (flips > 0)
    assert (report / "explanations.html").exists() == (flips > 0)
    assert "a question, or --report" in use("explain", BOTH).err


@pytest.mark.slow
def test_a_step_of_a_command_runs_where_it_is_told(use: Export, trained: Path) -> None:
    told = use("explain", "micro/smoke:base", "--report", "--backend", "local")
    assert told.code == 0, told
    assert list((trained / "drives").iterdir()) == []


def test_a_chat_answers_line_by_line_and_goes_on_after_a_mistake(
    use: Export, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Image.new("RGB", (128, 128), "red").save(tmp_path / "red.png")
    lines = ["how many", "", "/image nowhere.png", f"/image {tmp_path}/red.png", "how many"]
    typed = io.StringIO("\n".join([*lines, "/new", "how many"]))
    monkeypatch.setattr(sys, "stdin", typed)
    told = use("chat", BOTH, "--image", str(tmp_path / "red.png"))
    assert told.code == 0, told
    assert told.out.count("\n") == 3
    assert "no image at nowhere.png" in told.err


BASE = "micro/smoke:base"
PLAIN = "micro/smoke:clip-micro@32"
OVERRIDES = SHORT[1::2]


def page(**subject: object) -> None:
    """What the server of `ablate demo` runs."""
    from ablate.evaluate.demo import page as page_of_demo

    page_of_demo.page(**subject)  # type: ignore[arg-type]


def test_the_page_answers_as_a_chat_and_votes_are_kept(
    use: Export, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamlit.testing.v1 import AppTest  # no other test needs it

    subject = subject_of([trained_candidate(named, OVERRIDES) for named in (BOTH, BASE)])
    opened = AppTest.from_function(page, kwargs=subject, default_timeout=60).run()
    assert [box.label for box in opened.checkbox] == [r"clip\-micro\@32", r"sam\-micro\@128"]
    opened.toggle[0].set_value(False)
    opened.button[0].click().run()
    row = json.loads(Path(subject["answers"]).read_text().splitlines()[0])
    for named, text in zip((BOTH, BASE), opened.text[1:3], strict=True):
        monkeypatch.setattr(sys, "stdin", io.StringIO(row["question"]))
        asked = use("chat", named, "--image", str(Path(subject["images"]) / row["image"]))
        assert text.value == asked.out.strip()
    assert opened.text[3].value == f"Right would be: {row['truth']}"
    opened.checkbox[0].uncheck()
    opened.session_state.asking = True  # as where a move in the page has ended the run that asked
    opened.run()
    opened.button[1].click().run()
    assert not opened.exception
    [counted] = tallies(trained)
    assert counted == (PLAIN, f"{BOTH} without clip-micro@32", 0, 1, 0, 0)


def test_a_button_that_still_stands_on_a_slow_page_votes_on_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ablate.evaluate.demo import page as page_of_demo

    kept: list[object] = []
    monkeypatch.setattr(page_of_demo, "keep_vote", lambda *vote: kept.append(vote))
    replies = Reply("a", (), "yes"), Reply("b", (), "no")
    before = page_of_demo.Asked("which", b"", replies, blind=True, truth=None)
    now = before._replace(question="what")
    for state in ({}, {"asked": now}, {"asked": before, "voted": "as good"}):
        monkeypatch.setattr(page_of_demo.st, "session_state", state)
        page_of_demo._vote(before, "As good", None)
    assert kept == []


def test_an_expert_that_is_switched_off_is_masked(trained: Path, tmp_path: Path) -> None:
    [folder] = Home(trained).store.glob("finetune/*sam*")
    contender = Contender.load("it", folder)
    assert (contender.experts, contender.fixed) == (["clip-micro@32", "sam-micro@128"], None)
    Image.new("RGB", (128, 128), "red").save(tmp_path / "red.png")
    content = (tmp_path / "red.png").read_bytes()
    off = contender.reply("how many", content, contender.experts)
    assert off.of == "it without clip-micro@32, sam-micro@128"
    Image.new("RGB", (128, 128), "blue").save(tmp_path / "blue.png")
    assert contender.reply("how many", tmp_path / "blue.png", contender.experts) == off
    [base] = Home(trained).store.glob("finetune/clip-micro@32.*")
    assert "a mixture of one" in (Contender.load("base", base).fixed or "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([BOTH, BASE, BASE], "a page is of two candidates"),
        (["micro/smoke:bas"], "did you mean 'base'?"),
        (["micro/smoke:base"], "is the base itself: name two candidates"),
    ],
)
def test_what_a_page_cannot_be_of_is_a_line(use: Export, words: list[str], says: str) -> None:
    told = use("demo", *words)
    assert (told.code, told.err.count("\n")) == (2, 1)
    assert says in told.err


def test_the_word_in_the_address_of_a_page_is_in_no_command_line(
    use: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which every user of a machine can read, unlike an environment."""
    server = tmp_path / "server"
    server.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/line\n'
        f"echo $STREAMLIT_SERVER_BASE_URL_PATH > {tmp_path}/word\n"
    )
    server.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(server))
    assert use("demo", BOTH, BASE).code == 0
    line, word = ((tmp_path / name).read_text().strip() for name in ("line", "word"))
    assert "--server.address=127.0.0.1" in line
    assert len(word) == 32
    assert word not in line


def test_without_streamlit_the_page_says_what_to_install(
    use: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.commands.demo.find_spec", lambda name: None)
    assert "pip install 'ablate-vlm[demo]'" in use("demo").err


@pytest.mark.browser
def test_a_browser_asks_votes_blind_and_switches_an_expert_off(trained: Path) -> None:
    line = [sys.executable, "-m", "ablate", "demo", BOTH, BASE, *SHORT]
    env = {**os.environ, "ABLATE_HOME": str(trained)}
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=env) as server:
        try:
            assert server.stdout is not None
            address = next(line.split()[1] for line in server.stdout if "URL:" in line)
            assert address.startswith("http://127.0.0.1:")
            _use_page(address, trained)
        finally:
            server.terminate()


def _use_page(address: str, home: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    before = sum(row.blind for row in tallies(home))
    with sync_playwright() as playwright:
        args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=args)
        opened = chromium.new_page(viewport={"width": 390, "height": 800})
        outside: list[str] = []
        near = (address.rpartition("/")[0], "data:", "blob:")
        opened.on("request", lambda r: None if r.url.startswith(near) else outside.append(r.url))
        opened.set_default_timeout(60_000)
        opened.goto(address)
        opened.get_by_role("button", name="Ask").click()
        opened.get_by_role("button", name="As good").wait_for()
        assert opened.get_by_text("Left:").count() == 0
        opened.get_by_role("button", name="Left is better").click()
        expect(opened.get_by_text("Left:")).to_be_visible(timeout=60_000)
        expect(opened.get_by_role("button", name="As good")).to_have_count(0, timeout=60_000)
        opened.get_by_text("sam-micro@128", exact=True).click()
        opened.get_by_role("button", name="Ask").click()
        opened.get_by_role("button", name="As good").click()
        expect(opened.get_by_text("without sam-micro@128").first).to_be_visible(timeout=60_000)
        assert opened.evaluate("document.documentElement.scrollWidth") <= 390
        assert outside == []
        chromium.close()
    assert sum(row.blind for row in tallies(home)) == before + 2
