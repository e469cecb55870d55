"""Every format says what its interval covers, and claims nothing that nobody has measured."""

import json
import re
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path

import pytest
from synthetic import ROUNDS, STUDY, Run, study

from ablate.commands import compare, report
from ablate.reports import (
    contributions,
    flips,
    formats,
    overview,
    significance,
    site,
    tables,
    terminal,
)
from ablate.reports.comparison import Comparison
from ablate.reports.load import load
from ablate.reports.model import StudyResult

LEFT_OUT = "leave training noise out"
HELD = "what as many runs with other seeds would score"
CLAIMS = re.compile(
    r"\b(wins?|won|beats?|gains?|gained|not a tie|more than chance|better|worse|outperforms?)\b"
)
SEEDS = STUDY + "seeds: [0, 1, 2]\n" + ROUNDS


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """Two rounds of one run each, of a recipe of which nobody has measured training noise."""
    folder = tmp_path_factory.mktemp("one-run")
    subject = study(folder, STUDY + ROUNDS)
    Run(folder, subject, images=16).rounds(2)
    return load(subject, folder, last=2)


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """The same, the base trained twice more in another study."""
    folder = tmp_path_factory.mktemp("replicated")
    subject = study(folder, STUDY + ROUNDS)
    Run(folder, subject, images=16).rounds(2)
    Run(folder, study(folder, SEEDS, "again"), images=16).rounds(1)
    return load(subject, folder, last=2)


def rendered(found: StudyResult) -> Iterator[tuple[str, str]]:
    """Every table in every format, and what the commands print."""
    made = {
        "main": (tables.comparison(found), tables.notes(found)),
        "significance": (significance.significance(found), significance.notes(found)),
        "cells": (tables.cells(found), significance.below(found)),
    }
    for name, (frame, notes) in made.items():
        for form in formats.FORMATS:
            yield f"{name} {form}", unescape(formats.render(frame, form, "", notes))
        yield f"{name} terminal", terminal.table(frame, 100, "", notes)
    pair = Comparison(found, found.base, found, found.candidates[1])
    yield "compare", compare.as_text(pair, 0)
    yield "compare json", json.dumps(compare.as_data(pair, 0))


def pages(found: StudyResult, folder: Path) -> Mapping[str, str]:
    """The visible text of every page of the report, and of the page of all studies."""
    index = site.build(found, folder / "report")
    overview.update(folder, index, found)
    paths = [*(folder / "report").rglob("*.html"), folder / "index.html"]
    return {path.relative_to(folder).as_posix(): _visible(path) for path in paths}


def _visible(path: Path) -> str:
    text = re.sub(r"(?s)<(script|style|svg)\b.*?</\1>", " ", path.read_text(encoding="utf-8"))
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def _joined(text: str) -> str:
    """Text without the line ends and frames of a terminal."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())


def test_of_one_run_every_format_leaves_training_noise_out_and_claims_nothing(
    single: StudyResult,
) -> None:
    for name, text in rendered(single):
        assert LEFT_OUT in _joined(text), name
        assert not CLAIMS.search(_joined(text)), (name, CLAIMS.search(_joined(text)))


def test_of_several_runs_every_format_says_that_training_noise_is_in(
    replicated: StudyResult,
) -> None:
    for name, text in rendered(replicated):
        said = _joined(text)
        assert HELD in said, name
        assert "2 degrees of freedom, from 1 candidate trained repeatedly" in said, name
        assert LEFT_OUT not in said, name


def test_the_pages_of_a_report_say_it_too(
    single: StudyResult, replicated: StudyResult, tmp_path: Path
) -> None:
    said, more = pages(single, tmp_path / "a"), pages(replicated, tmp_path / "b")
    with_intervals = [name for name, text in said.items() if "95 %" in text]
    assert {"index.html", "report/index.html", "report/results.html"} <= {*with_intervals}
    for name in with_intervals:
        assert LEFT_OUT in said[name], name
        assert LEFT_OUT not in more[name], name
        assert HELD in more[name], name
    for name, text in said.items():
        assert not CLAIMS.search(text), (name, CLAIMS.search(text))
    assert "p, of this run" in said["report/results.html"]
    assert "of this run" not in more["report/results.html"]


def test_a_p_of_one_run_stands_under_a_heading_that_says_so(
    single: StudyResult, replicated: StudyResult
) -> None:
    for make in (significance.significance, flips.flips, contributions.pairs, contributions.moves):
        heads, _ = formats.shown(make(single))
        assert "p, of this run" in heads, make
        assert not {"p", "p of the best", "McNemar's p"} & {*heads}, make
        heads, _ = formats.shown(make(replicated))
        assert "p" in heads, make


def test_the_end_of_a_run_says_it(single: StudyResult, replicated: StudyResult) -> None:
    text = report.ending(single, 2)
    assert LEFT_OUT in text
    assert not CLAIMS.search(text)
    assert HELD in report.ending(replicated, 2)


def test_json_keeps_its_fields_and_tells_the_noise(replicated: StudyResult) -> None:
    pair = Comparison(replicated, replicated.base, replicated, replicated.candidates[1])
    told = compare.as_data(pair, 0)
    assert {"a", "b", "settings", "benchmarks", "mean", "notes", "fairness", "flips"} <= {*told}
    assert HELD in told["covers"]
    assert told["noise"]["freedom"] == 2.0
