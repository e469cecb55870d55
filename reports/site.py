"""The report: one static folder that opens from disk, made from a study's results alone.

Built twice from the same store it is the same to the byte: nothing in it asks for the time.
"""

import shutil
import tempfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reports import against, browser, formats
from reports.model import StudyResult
from reports.pages import answers, candidate, index
from reports.pages.common import page_name
from reports.tables import caption, comparison

_SUFFIXES = {"csv": "csv", "md": "md", "latex": "tex", "json": "json"}


def build(study: StudyResult, folder: Path) -> Path:
    """Write the report into `folder`, replacing what is there; the path of its first page."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".report-") as scratch:
        made = Path(scratch) / "new"
        made.mkdir(mode=0o755)
        with as_file(files("reports") / "templates") as templates:
            _write(study, made, templates)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        made.rename(folder)
    return folder / "index.html"


def _write(study: StudyResult, folder: Path, templates: Path) -> None:
    environment = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

    def page(template: str, path: str, values: dict[str, Any]) -> None:
        root = "../" * path.count("/")
        text = environment.get_template(template).render(study=study, root=root, **values)
        (folder / path).write_text(text, encoding="utf-8", errors="replace")

    for name in ("assets", "candidates", "tables"):
        (folder / name).mkdir()
    for asset in ("report.css", "report.js", "answers.js"):
        shutil.copyfile(templates / asset, folder / "assets" / asset)
    page("index.html", "index.html", {**index.index(study), "downloads": _tables(study, folder)})
    for one in study.candidates:
        page(
            "candidate.html",
            f"candidates/{page_name(study, one)}",
            candidate.candidate(study, one),
        )
    names = browser.images(study, folder / "images")
    page("answers.html", "answers.html", answers.answers(browser.payload(study, names)))


def _tables(study: StudyResult, folder: Path) -> list[str]:
    """The main table, and the one beside the published numbers, as files; their names."""
    made: list[tuple[str, pd.DataFrame, str, list[str]]]
    made = [(study.kind, comparison(study), caption(study), [])]
    if study.published and against.comparable(study):
        frame = against.against(study)
        made.append(("published", frame, against.caption(study), against.notes(study)))
    names = []
    for name, frame, title, notes in made:
        for form, suffix in _SUFFIXES.items():
            names.append(f"{name}.{suffix}")
            text = formats.render(frame, form, title, notes)
            (folder / "tables" / names[-1]).write_text(text, encoding="utf-8", errors="replace")
    return names
