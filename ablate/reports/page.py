"""What a page of the report is: one file in `ablate/reports/pages`, or another package's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ablate.reports.browser import Browser
from ablate.reports.model import StudyResult


class Source(NamedTuple):
    """What pages are made of.

    `images`: the names of the answers' images by their source; `downloads`: those of the tables.
    """

    study: StudyResult
    browser: Browser
    images: Mapping[str, str]
    downloads: Sequence[str]


@dataclass(frozen=True)
class ReportPage:
    """A page that every page links to: the file's `PAGE`.

    Its path is the file's name, or the entry point's; its template, `<file>.html` beside the file,
    is given what `values` makes, and beside it `study`, `to` (the links), `dates` (when the study
    ran) and `studies`.
    `title` names it in the navigation, in which pages stand by their `order`: ours at 10, 20, ...
    It is left out where `shown` says no.
    """

    title: str | Callable[[StudyResult], str]
    values: Callable[[Source], Mapping[str, Any]]
    order: int = 1000
    shown: Callable[[StudyResult], bool] = lambda study: True

    def heading(self, study: StudyResult) -> str:
        """The title on this study's report."""
        return self.title if isinstance(self.title, str) else self.title(study)
