"""The pages of a report, each a template and what it shows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablate.reports.browser import Browser
from ablate.reports.drawing import Drawing
from ablate.reports.links import Download
from ablate.reports.model import StudyResult
from ablate.reports.pages.answers import answers
from ablate.reports.pages.benchmarks import benchmarks
from ablate.reports.pages.candidate import candidate
from ablate.reports.pages.common import path_of
from ablate.reports.pages.cost import cost
from ablate.reports.pages.experts import experts
from ablate.reports.pages.fairness import findings
from ablate.reports.pages.index import index
from ablate.reports.pages.results import heading, results


@dataclass(frozen=True)
class Page:
    """One page: its path without a suffix, its title, its template and the template's values."""

    path: str
    title: str
    template: str
    values: Mapping[str, Any]

    @property
    def files(self) -> Iterator[tuple[str, bytes]]:
        """What the page offers to keep, by path: its figures, and its tables as data."""
        for found in _within(self.values):
            if isinstance(found, Drawing):
                yield f"figures/{found.name}.svg", found.svg.encode()
            elif isinstance(found, Download):
                yield f"tables/{found.name}", found.text.encode("utf-8", "replace")


def _within(value: Any) -> Iterator[Any]:
    """The value and all that mappings and lists in it hold."""
    yield value
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _within(each)


def navigation(study: StudyResult) -> list[tuple[str, str]]:
    """The pages every page links to: path and name."""
    return [
        ("index", "Overview"),
        ("results", heading(study)),
        ("cost", "Cost"),
        ("experts", "Experts"),
        ("answers", "Answers"),
        ("fairness", "Fairness"),
    ]


def pages(
    study: StudyResult, browser: Browser, images: Mapping[str, str], downloads: Sequence[str]
) -> Iterator[Page]:
    """Every page, in order. `images`: names by source; `downloads`: the names of the tables."""
    title = study.title
    yield Page("index", title, "index.html", index(study))
    yield Page("results", f"{heading(study)} - {title}", "results.html", results(study, downloads))
    yield Page("cost", f"Cost - {title}", "cost.html", cost(study))
    yield Page("experts", f"Experts - {title}", "experts.html", experts(study))
    yield Page("answers", f"Answers - {title}", "answers.html", answers(browser, images))
    yield Page("fairness", f"Fairness - {title}", "fairness.html", findings(study))
    scored = benchmarks(study)
    for one in study.candidates:
        values = candidate(study, one, browser, scored.get(one, ()))
        yield Page(path_of(study, one), f"{one.name} - {title}", "candidate.html", values)
