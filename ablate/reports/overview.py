"""The page of all studies of a home: what each asks, its best candidate, and where its report is.

Every report leaves a summary beside the page, and makes the page anew from all summaries: no study
is read for another's report.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ablate.files import UNREADABLE, atomic_file, read_json
from ablate.home import Home
from ablate.reports import significance
from ablate.reports.dates import dates
from ablate.reports.formats import number
from ablate.reports.markup import asset, environment
from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.pages.common import spanned
from ablate.reports.previous import noted_as

PAGE = "index.html"
SUMMARIES = ".summaries"
"""The folder of the summaries, beside the page."""


def update(folder: Path, page: Path, study: StudyResult) -> Path:
    """Note in `folder`, where a home's reports are, that `page` is this study's; the page of all.

    What is noted of pages that are gone is forgotten. A report that is itself so called stays.
    """
    if page == folder / PAGE:
        return page
    link = page.relative_to(folder).as_posix()
    name = hashlib.sha256(link.encode()).hexdigest()[:16]
    made_of = noted_as(page.parent) if page.name == PAGE else None
    if made_of is None or _made_of(folder / SUMMARIES / f"{name}.json") != made_of:
        noted = {"link": link, "made_of": made_of, **summary(study)}
        _write(folder / SUMMARIES / f"{name}.json", json.dumps(noted))
    known = []
    for path in sorted((folder / SUMMARIES).glob("*.json")):
        entry = json.loads(path.read_text(encoding="utf-8"))
        if (folder / entry["link"]).is_file():
            known.append(entry)
        else:
            path.unlink(missing_ok=True)
    _write(folder / PAGE, render(known))
    return folder / PAGE


def summary(study: StudyResult) -> dict[str, Any]:
    """What the page of all studies says of one."""
    best = study.best
    scored = sum(candidate.composite is not None for candidate in study.candidates)
    gain = study.scoreboard.difference(best, study.base) if best else None
    rivals = [candidate for candidate in study.candidates if best and candidate.round == best.round]
    ties = [candidate for candidate in rivals if significance.standing(study, candidate) == "tie"]
    return {
        "name": study.name,
        "title": study.title,
        "question": study.question,
        "suite": study.suite,
        "tasks": list(study.tasks.values()),
        "scored": f"{scored} of {len(study.candidates)}",
        "dates": dates(study.steps.values()),
        "best": best.name if best else "",
        "ties": len(ties),
        "covers": " ".join(significance.covered(study.scoreboard)),
        "score": spanned(best.composite, study.scoreboard.score(best), "score") if best else "",
        "base": study.base.name,
        "base_score": number(study.base.composite, "score"),
        "gain": spanned(gain.estimate, gain, "delta") if gain and best is not study.base else "",
        "by_task": _by_task(study, best),
    }


def _by_task(study: StudyResult, best: CandidateResult | None) -> dict[str, str]:
    scores = best.scores if best else {}
    return {title: number(scores.get(task), title) for task, title in study.tasks.items()}


def render(summaries: list[Mapping[str, Any]]) -> str:
    """The page, as HTML: a table a suite, for only scores of one suite are comparable."""
    ranked = sorted(
        summaries, key=lambda summary: (summary["suite"], summary["tasks"], summary["name"])
    )
    groups = groupby(ranked, key=lambda summary: (summary["suite"], summary["tasks"]))
    return (
        environment()
        .get_template("overview.html")
        .render(
            suites=[
                {"suite": suite, "tasks": tasks, "studies": of_suite, "covers": _covers(of_suite)}
                for (suite, tasks), studies in groups
                for of_suite in [list(studies)]
            ],
            title="Studies",
            policy="img-src data:; style-src 'unsafe-inline'",
            style=Markup(asset("report.css")),
        )
    )


def _covers(studies: list[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """What intervals cover, each with the studies of which that is so; none of older summaries."""
    covers: dict[str, list[str]] = {}
    for summary in studies:
        if coverage := summary.get("covers"):
            covers.setdefault(coverage, []).append(summary["name"])
    return list(covers.items())


def _made_of(path: Path) -> str | None:
    """What the report is made of that a summary is of; None where there is no such summary."""
    try:
        made_of: str | None = read_json(path)["made_of"]
    except UNREADABLE:
        return None
    return made_of


def _write(path: Path, text: str) -> None:
    """Write a file, unless it holds the same."""
    with suppress(OSError):
        if path.read_bytes() == text.encode("utf-8", "replace"):
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as draft:
        draft.write_text(text, encoding="utf-8", errors="replace")


def way_back(study: StudyResult, folder: Path) -> str:
    """From the top of the report in `folder` to the page of all studies; empty if it has none."""
    reports = Home(study.home).reports
    if not folder.is_relative_to(reports):
        return ""
    return f"{os.path.relpath(reports, folder)}/{PAGE}".replace(os.sep, "/")
