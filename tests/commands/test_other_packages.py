"""The examples of `docs/extending` as another package: each from its name to the report."""

import json
import re
from pathlib import Path

import doc_examples
import pytest
from overlay import run

STUDY = """
extends: micro/smoke
title: Doors
question: Does all that another package offers go the whole way?
suite: suite.yaml
base:
  encoders: [clip-micro@32, patchy-s@32]
  fusion: {name: channel_concat, grid: [4, 4]}
  recipe:
    prealign: {steps: 2, warm_projector: 0}
    pretrain: {steps: 2}
    finetune: {steps: 2}
explore:
  kind: arms
  axis: fusion
  arms:
    - {name: asks, set: {fusion.name: question_gate}}
    - {name: injects, set: {fusion.name: cross_attention}}
"""
SUITE = """
extends: micro-smoke
title: Their metric, and one of ours
tasks:
  - {task: abl_gqa, metric: first_word, title: First word}
  - abl_pope
"""


@pytest.mark.slow
def test_what_another_package_offers_goes_from_its_name_to_the_report(
    tmp_path: Path, own_home: Path
) -> None:
    site = tmp_path / "site"
    doc_examples.install(site)
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "suite.yaml").write_text(SUITE)
    study = str(tmp_path / "study.yaml")

    def listed(what: str, column: str) -> set[str]:
        rows = json.loads(run(own_home, site, "list", what, "--json").stdout)
        return {row[column] for row in rows}

    assert "patchy-s@32" in listed("encoders", "encoder")
    assert {"question_gate", "cross_attention"} <= listed("fusions", "fusion")
    assert "first_word" in listed("metrics", "metric")
    assert "novelty" in listed("pages", "page")
    assert "effective_rank" in listed("proxies", "proxy")

    plan = json.loads(run(own_home, site, "plan", study, "--json").stdout)
    tokens = {one["name"]: one["visual_tokens"] for one in plan["candidates"]}
    assert tokens == {"asks": 16, "injects": 0}
    hours = {one["name"]: one["gpu_hours"] for one in plan["candidates"]}
    assert all(one > 0 for one in hours.values())

    shown = run(own_home, site, "run", study, "--jobs", "1").stdout
    assert "asks" in shown
    assert "First word" in shown
    records = [json.loads(one.read_text()) for one in own_home.glob("store/*/*/record.json")]
    evaluated = [one for one in records if one["kind"] == "evaluate"]
    assert len(evaluated) == 2
    trained = [one for one in records if one["kind"] == "finetune"]
    assert all(one["result"]["vision_flops"] > 0 for one in trained)
    for one in evaluated:
        assert one["result"]["scores"]["abl_gqa"]["metric"] == "first_word"
        assert one["versions"]["their-examples"] == "1"

    [folder] = own_home.glob("reports/study-*")
    pages = {name: _words(folder / f"{name}.html") for name in ("index", "results", "novelty")}
    assert "first_word (First word); pope_accuracy (POPE)" in pages["index"]
    assert "First word" in pages["results"]
    assert "asks : 2" in pages["novelty"]
    assert "injects : 2" in pages["novelty"]
    candidate = _words(folder / "candidates" / "001.html")
    for told in ("fusion question_gate", "encoder family patchy", "metric first_word"):
        assert f"{told} their-examples 1" in candidate


def _words(page: Path) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8")).split())
