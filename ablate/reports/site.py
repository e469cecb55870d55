"""The report: a folder of pages that open from disk, or one file; made from the results alone.

Built twice from the same store it is the same to the byte: nothing in it asks for the time.
"""

import base64
import gc
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from ablate.files import atomic_file
from ablate.reports import against, formats
from ablate.reports.browser import Browser, encode
from ablate.reports.dates import dates
from ablate.reports.links import Links, Within
from ablate.reports.made_of import made_of
from ablate.reports.markup import asset, environment
from ablate.reports.model import StudyResult
from ablate.reports.overview import way_back
from ablate.reports.page import Source
from ablate.reports.pages import Page, navigation, only_ours, pages
from ablate.reports.previous import ReportFiles, encoded, is_whole
from ablate.reports.significance import below
from ablate.reports.tables import caption, cells_by_benchmark, comparison, notes

MANY = 1000
"""Candidates of which a page of all holds so much, in cycles of its template and figures, that
garbage is looked for before the next."""
STYLE, THEME, LIVE = "report.css", "theme.js", "live.js"
SCRIPTS = (
    "datatables.js",
    "report.js",
    "tables.js",
    "answers.js",
    "points.js",
)  # in the order they load
_SUFFIXES = {"csv": "csv", "md": "md", "latex": "tex", "json": "json"}


def build(
    study: StudyResult, folder: Path, *, live: bool = False, before: Path | None = None
) -> Path:
    """Write the report into `folder`, replacing what is there; the path of its first page.

    `live`: its pages ask the server for newer ones. What is the same in a report made `before`
    (default: the one in `folder`) is taken over from it (see `ReportFiles`); the one in `folder`
    stays as it is if it is made of the same.
    """
    browser, back = Browser(study), way_back(study, folder)
    inputs = made_of(study, browser, live, back)
    if before is None and only_ours() and is_whole(folder, inputs):
        return folder / "index.html"
    with _scratch(folder.parent) as scratch:
        made = scratch / "new"
        made.mkdir()
        files = ReportFiles(made, before or folder)
        _write(study, browser, files, live, back)
        files.close(inputs)
        if folder.exists():
            folder.rename(scratch / "old")
        made.rename(folder)
    return folder / "index.html"


def build_single(study: StudyResult, path: Path) -> Path:
    """Write the whole report into one HTML file; its path."""
    browser = Browser(study)
    tables = {name: "".join(parts) for name, parts in _tables(study)}
    with _scratch(path.parent) as scratch:
        names = encode(browser, scratch)
        images = {name: _data_uri(scratch / name) for name in sorted(set(names.values()))}
    scripts = {name: asset(name) for name in (THEME, *SCRIPTS)}
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in scripts.values())
    parts = _shell(
        study,
        pages(Source(study, browser, names, list(tables))),
        Within(tables, images),
        title=study.title,
        dates=dates(study.steps.values()),
        navigation=navigation(study),
        policy=f"img-src data:; style-src 'unsafe-inline'; script-src {hashes}",
        inline={name: Markup(text) for name, text in {STYLE: asset(STYLE), **scripts}.items()},
        pieces=chain([("images", images)], browser.pieces(names)),
    )
    with atomic_file(path) as draft, draft.open("w", encoding="utf-8", errors="replace") as file:
        file.writelines(parts)  # a lone surrogate is no text
    return path


def _write(study: StudyResult, browser: Browser, files: ReportFiles, live: bool, back: str) -> None:
    tables = []
    for name, parts in _tables(study):  # of many candidates they are large: one at a time
        files.write(f"tables/{name}", parts)
        tables.append(name)
    names = encode(browser, files.folder / "images", files.before / "images")
    scripts = [*SCRIPTS, LIVE] if live else [*SCRIPTS]
    policy = (
        "img-src 'self' file: data:; style-src 'self' file: 'unsafe-inline'; "
        f"script-src 'self' file:{'; connect-src ' + repr('self') if live else ''}"
    )
    ran, linked = dates(study.steps.values()), navigation(study)
    for page in pages(Source(study, browser, names, tables)):
        links = Links("../" * page.path.count("/"))
        shell: dict[str, Any] = {
            "title": page.title,
            "current": page.path,
            "dates": ran if page.dates is None else page.dates,
            "navigation": linked,
            "studies": links.root + back if back else "",
            "policy": policy,
            "scripts": scripts,
        }
        make = partial(_shell, study, [page], links, **shell)
        name = f"{page.path}.html"
        if page.made_of is None:
            try:
                files.write(name, make(body=_parts))
            except Exception as error:  # whatever another package's page raises
                failed = Page.failed(page.path, page.title, error)
                files.write(name, _shell(study, [failed], links, **shell))
        else:
            files.page(name, [page.made_of, shell, study.name], make)
        for name, content in page.files:
            files.put(name, content)
        of_all = page.made_of is None
        del page, make  # of many candidates they are large: not beside the next
        if of_all and len(study.candidates) >= MANY:
            gc.collect()
    for name in (STYLE, THEME, *scripts):
        files.put(f"assets/{name}", encoded([asset(name)]))
    for name, piece in browser.pieces(names):
        value = json.dumps(piece, ensure_ascii=False, separators=(",", ":"))
        files.put(f"data/{name}.js", encoded([f"report.take({json.dumps(name)}, {value});\n"]))


def _shell(
    study: StudyResult,
    shown: Iterable[Page],
    to: Links,
    *,
    title: str,
    dates: str,
    navigation: Sequence[tuple[str, str]],
    current: str = "",
    studies: str = "",
    policy: str,
    scripts: Iterable[str] = (),
    inline: dict[str, Markup] | None = None,
    pieces: Iterable[tuple[str, Any]] = (),
    body: Callable[[Page, Mapping[str, Any]], Iterator[str]] | None = None,
) -> Iterator[str]:
    """One HTML file with these pages in it, part by part; style and scripts are files, or `inline`.

    `current`: the page that is marked in the navigation, if the file holds one alone; `studies`:
    where the page of all studies is, if there is one; `body` (default: `_body`) makes each page's
    part.
    """
    make = body or _body
    common: dict[str, Any] = {"study": study, "to": to, "dates": dates, "studies": studies}
    bodies = (
        {"path": page.path, "title": page.title, "body": make(page, common)} for page in shown
    )
    return (
        environment()
        .get_template("shell.html")
        .generate(
            common,
            navigation=navigation,
            title=title,
            current=current,
            pages=bodies,
            policy=policy,
            style=STYLE,
            theme=THEME,
            scripts=list(scripts),
            inline=inline or {},
            pieces=pieces,
        )
    )


def _body(page: Page, common: Mapping[str, Any]) -> Iterator[str]:
    """A page's part of a file; one whose template fails says so."""
    try:
        yield "".join(_parts(page, common))
    except Exception as error:  # whatever another package's page raises
        yield from _parts(Page.failed(page.path, page.title, error), common)


def _parts(page: Page, common: Mapping[str, Any]) -> Iterator[str]:
    """The same as it is made, a piece at a time: of many candidates it is large."""
    yield from environment().get_template(page.template).generate(common, **page.values)


def _tables(study: StudyResult) -> Iterator[tuple[str, Iterable[str]]]:
    """Files by name, in parts: the main table, that beside the published numbers, every cell's
    interval."""
    frame = comparison(study)
    yield from _in_forms(study.strategy.kind, frame, caption(study), notes(study))
    if study.published:
        frame = against.against(study)
        yield from _in_forms("published", frame, against.caption(study), against.notes(study))
    yield "cells.csv", formats.csv_parts(cells_by_benchmark(study), below(study))


def _in_forms(
    name: str, frame: pd.DataFrame, title: str, notes: Sequence[str]
) -> Iterator[tuple[str, Iterable[str]]]:
    for form, suffix in _SUFFIXES.items():
        yield f"{name}.{suffix}", [formats.render(frame, form, title, notes)]


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".report-") as scratch:
        yield Path(scratch)


def _data_uri(path: Path) -> str:
    return f"data:image/webp;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _digest(text: str) -> str:
    """A script's hash as a content security policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
