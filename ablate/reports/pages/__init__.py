"""The pages of a report: one file each, found by its `PAGE`, with its template beside it.

Another package adds its own through the entry-point group `ablate.report_pages`
(`name = "package.module:PAGE"`). A page that cannot be made says so in its place.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ablate.errors import UserError
from ablate.redaction import redact
from ablate.reports.dates import dates
from ablate.reports.drawing import Drawing
from ablate.reports.links import Download
from ablate.reports.model import StudyResult
from ablate.reports.page import ReportPage, Source
from ablate.reports.pages.benchmarks import Benchmarks
from ablate.reports.pages.candidate import candidate, made_of
from ablate.reports.pages.common import path_of
from fusion_zoo import Registry

PAGES = Registry("page", "ablate.report_pages", __name__, "PAGE", UserError)


@dataclass(frozen=True)
class Page:
    """One page: its path without a suffix, its title, its template and the template's values.

    `dates`: when what it shows ran, where that is not the whole study. `made_of`: all that it is
    made of, as JSON; None where its template is given more than can be told.
    """

    path: str
    title: str
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    dates: str | None = None
    made_of: Any = None

    @classmethod
    def failed(cls, path: str, title: str, error: Exception) -> "Page":
        """What stands in for a page that cannot be made: one line that says why."""
        message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        words = " ".join(redact(message).split())[:400]
        return cls(path, title, "failed.html", {"heading": title, "reason": words})

    @property
    def files(self) -> Iterator[tuple[str, bytes]]:
        """What the page offers to keep, by path: its figures, and its tables as data."""
        for item in _within(self.values):
            if isinstance(item, Drawing):
                yield f"figures/{item.name}.svg", item.svg.encode()
            elif isinstance(item, Download):
                yield f"tables/{item.name}", item.text.encode("utf-8", "replace")


def _within(value: Any) -> Iterator[Any]:
    """The value and all that mappings and lists in it hold."""
    yield value
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _within(each)


def names() -> dict[str, str]:
    """The name of every page by its path; one of ours is taken by no other."""
    return {re.sub(r"[^\w-]+", "-", name): name for name in reversed(PAGES.names())}


def only_ours() -> bool:
    """Whether no other package has a page, which may be made of anything."""
    return all(PAGES.plug_in(name) is None for name in PAGES.names())


def navigation(study: StudyResult) -> list[tuple[str, str]]:
    """The pages every page links to: path and name."""
    return [(path, heading) for path, heading, _ in _shown(study)]


def pages(source: Source) -> Iterator[Page]:
    """Every page, in order: those of the navigation, then one for each candidate."""
    study = source.study
    for path, heading, page in _shown(study):
        title = study.title if path == "index" else f"{heading} - {study.title}"
        yield _made(path, title, page, source)
    scored = Benchmarks(study)
    for result in study.candidates:
        values = candidate(study, result, source.browser, scored.get(result, ()))
        title = f"{result.name} - {study.title}"
        ran, path = dates(result.steps), path_of(study, result)
        yield Page(path, title, candidate.__module__, values, ran, [made_of(values, result), ran])


def _made(path: str, title: str, page: ReportPage, source: Source) -> Page:
    """A page, or what stands in its place."""
    try:
        with PAGES.blame(names()[path], "be made"):
            values = page.values(source)
    except Exception as error:  # of ours, too: the other pages are as good
        return Page.failed(path, title, error)
    return Page(path, title, PAGES.entry(names()[path]).module, values)


def _shown(study: StudyResult) -> list[tuple[str, str, ReportPage]]:
    """Path, heading and page of those that this study's report has, in their order."""
    shown = []
    for path, name in names().items():
        try:
            with PAGES.blame(name, "be shown"):
                page: ReportPage = PAGES.load(name)
                if page.shown(study):
                    shown.append((path, page.heading(study), page))
        except Exception as error:  # of ours, too
            shown.append((path, path, _broken(path, error)))
    return sorted(shown, key=lambda entry: (entry[2].order, entry[0]))


def _broken(path: str, error: Exception) -> ReportPage:
    """A page that cannot be made."""

    def fail(source: Source) -> Mapping[str, Any]:
        raise error

    return ReportPage(path, fail)
