"""`ablate table` and `ablate report`."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.commands.output import emit_json, note
from ablate.config.study import Study, load_study
from ablate.files import home
from ablate.signals import terminable
from ablate.store.read_cache import without_gc
from ablate.store.results import told_apart

if TYPE_CHECKING:
    from ablate.reports.model import StudyResult


@without_gc()
def table(
    name: str, overrides: Sequence[str], form: str, make: Callable[[Study, str], str]
) -> None:
    """Print a table of the study that `make` makes in this format."""
    print(make(load_study(name, overrides), form), end="")


def report(name: str, overrides: Sequence[str], single: bool, show: bool, as_json: bool) -> None:
    """Build the report and print the path of its first page, or of its only file (`single`)."""
    study = load_study(name, overrides)
    path = build(study, single)
    if as_json:
        emit_json({"study": study.name, "id": study.id, "path": str(path)})
    else:
        print(path)
    if show:
        _open(path.as_uri())


def live(name: str, overrides: Sequence[str], port: int, show: bool) -> None:
    """Serve the report, and print its address, until a Ctrl-C or SIGTERM."""
    from ablate.reports.live import served

    study = load_study(name, overrides)
    with terminable(), served(study, port, tell=note) as made:
        print(made.address, flush=True)
        note("a newer report comes by itself; Ctrl-C ends it")
        if show:
            _open(made.door.as_uri())
        threading.Event().wait()


def _open(address: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        note("no browser to open it with")


def render(study: Study, form: str, last: int | None = None) -> str:
    """The table of a study (its rounds 1 to `last`) in one of the formats."""
    from ablate.reports import formats, tables

    found = _found(study, last)
    frame = tables.comparison(found)
    return formats.render(frame, form, tables.caption(found), tables.notes(found))


def beside_paper(study: Study, form: str) -> str:
    """Published, ours and the difference."""
    from ablate.reports import against, formats

    found = _found(study)
    return formats.render(
        against.against(found), form, against.caption(found), against.notes(found)
    )


def sure(study: Study, form: str) -> str:
    """Which differences are more than chance, and what the suite can tell at all."""
    from ablate.reports import formats, significance

    found = _found(study)
    caption = f"{study.title}: which differences are more than chance"
    return formats.render(
        significance.significance(found), form, caption, significance.notes(found)
    )


def _found(study: Study, last: int | None = None) -> "StudyResult":
    """What the store knows of a study; a note says what an older version of ablate has left."""
    from ablate.reports.load import load

    found = load(study, last=last)
    for line in told_apart(found.older):
        note(line)
    return found


def build(study: Study, single: bool = False) -> Path:
    """Write the report below `home()/reports`; the path of its first page, or of its only file.

    The page of all studies there, `index.html`, is made anew. Where one may only read there, all of
    it goes below `ablate-reports` in the working folder.
    """
    from ablate.reports import overview, site
    from ablate.reports.load import load

    reports, found = home() / "reports", load(study)
    if not _writable(reports / study.id):
        reports, refused = Path.cwd() / "ablate-reports", reports
        note(f"you may not write to {refused}; the report goes to {reports}")
    folder = reports / study.id
    if single:
        page = site.build_single(found, folder.with_name(f"{folder.name}.html"))
    else:
        page = site.build(found, folder)
    overview.update(reports, page, found)
    return page


def _writable(folder: Path) -> bool:
    """Whether the folder may be made, or replaced where it is there."""
    there = [path for path in (folder, *folder.parents) if path.exists()]
    return all(os.access(path, os.W_OK) for path in there[: 1 + folder.exists()])
