"""`ablate table` and `ablate report`."""

import os
import shutil
import sys
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.commands.output import emit_json, emit_parquet, note, on_terminal, say
from ablate.config.study import Study, load_study
from ablate.files import home
from ablate.home import Home
from ablate.printable import one_line, printable
from ablate.signals import terminable
from ablate.store.results import told_apart

if TYPE_CHECKING:
    import pandas as pd

    from ablate.reports.model import StudyResult


@dataclass(frozen=True)
class StudyTable:
    """A table of a study. `notes`: what to know of it; `short`: names for where room is little."""

    frame: "pd.DataFrame"
    caption: str
    notes: Sequence[str]
    short: Sequence[str] = ()


def show_table(table: StudyTable, form: str | None) -> None:
    """Print a table in a format; None: fit to a terminal, if it goes there, else Markdown."""
    if form == "parquet":
        emit_parquet(table.frame)
        return
    on_screen = on_terminal(sys.stdout)
    form = form if form or on_screen else "md"
    text = shown(table.frame, form, table.caption, table.notes, table.short)
    if form and on_screen:
        say(text.removesuffix("\n"))
    else:
        print(text, end="")


def show_report(study: Study, path: Path, show: bool, as_json: bool) -> None:
    """Print the path of a report's first page, or of its only file."""
    if as_json:
        emit_json({"study": study.name, "id": study.id, "path": str(path)})
    else:
        say(str(path))
    if show:
        _open(path.as_uri())


def live(name: str, overrides: Sequence[str], port: int, show: bool) -> None:
    """Serve the report, and print its address, until a Ctrl-C or SIGTERM."""
    from ablate.reports.live import served

    study = load_study(name, overrides)
    with terminable(), served(study, port, tell=note) as made:
        say(made.address)
        note("a newer report comes by itself; Ctrl-C ends it")
        if show:
            _open(made.door.as_uri())
        threading.Event().wait()


def _open(address: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        note("no browser to open it with")


def make_table(study: Study, kind: str) -> StudyTable:
    """The table of this kind (see `ablate.api.TableKind`)."""
    return _TABLES[kind](result(study))


def _results(known: "StudyResult") -> StudyTable:
    """The rounds, or arms."""
    from ablate.reports import tables, terminal

    frame = tables.comparison(known)
    short = terminal.short_names(known, frame)
    return StudyTable(frame, tables.caption(known), tables.notes(known), short)


def _beside_paper(known: "StudyResult") -> StudyTable:
    """Published, ours and the difference."""
    from ablate.reports import against

    return StudyTable(against.against(known), against.caption(known), against.notes(known))


def _significance(known: "StudyResult") -> StudyTable:
    """Which differences are more than chance, and what the suite can tell at all."""
    from ablate.reports import significance, terminal

    frame = significance.significance(known)
    caption = f"{known.title}: which differences are more than chance"
    short = terminal.short_names(known, frame)
    return StudyTable(frame, caption, significance.notes(known), short)


def _fragility(known: "StudyResult", paper: bool = False) -> StudyTable:
    """How much each choice hangs on which benchmarks were asked, here or in the `paper`."""
    from ablate.reports import fragility

    frame, caption = fragility.fragility(known, paper), fragility.caption(known, paper)
    notes, short = fragility.notes(known, paper), fragility.labels(known, paper)
    return StudyTable(frame, caption, notes, short)


_TABLES: Mapping[str, Callable[["StudyResult"], StudyTable]] = {
    "results": _results,
    "significance": _significance,
    "fragility": _fragility,
    "paper": _beside_paper,
    "fragility of the paper": partial(_fragility, paper=True),
}


def ending(known: "StudyResult", last: int | None) -> str:
    """What stands at the end of a run: the table of rounds 1 to `last`, the answer in three parts.

    On a terminal the table is without single benchmarks, which `ablate table` and the report have.
    """
    from ablate.reports import formats, significance, story, tables, terminal

    known = known if last is None else replace(known, rounds=known.rounds[:last])
    parts = story.brief(known).items()
    frame, caption = tables.comparison(known), tables.caption(known)
    if not on_terminal(sys.stdout):
        text = formats.render(frame, "md", caption, tables.notes(known))
        return printable("\n".join([text, *(f"{name}: {words}" for name, words in parts)]))
    room = width()
    main, marks = terminal.main_columns(frame), significance.marks(known)
    text = terminal.table(main, room, caption, marks, terminal.short_names(known, main))
    lines = [_hanging(f"{name}:", one_line(words), room) for name, words in parts]
    return "\n".join([text, *lines])


def _hanging(name: str, words: str, width: int) -> str:
    """A paragraph behind its name."""
    return textwrap.fill(f"{name:<10}{words}", width, subsequent_indent=" " * 10)


def shown(
    frame: "pd.DataFrame",
    form: str | None,
    caption: str,
    notes: Sequence[str] = (),
    short: Sequence[str] = (),
) -> str:
    """A frame in one of the formats, or as this terminal has room for it (None)."""
    from ablate.reports import formats, terminal

    if form == "md":
        return printable(formats.render(frame, form, caption, notes))
    if form:
        return formats.render(frame, form, caption, notes)
    return terminal.table(frame, width(), caption, notes, short)


def width() -> int:
    """Characters in a line of this terminal."""
    return max(shutil.get_terminal_size().columns, 40)


def result(study: Study) -> "StudyResult":
    """What the store knows of a study; a note says what an older version of ablate has left."""
    from ablate.reports.load import load

    known = load(study)
    for line in told_apart(known.older):
        note(line)
    return known


def build(known: "StudyResult", single: bool = False) -> Path:
    """Write the report below `home()/reports`; the path of its first page, or of its only file.

    The page of all studies there, `index.html`, is made anew. Where one may only read there, all of
    it goes below `ablate-reports` in the working folder.
    """
    from ablate.reports import overview, site

    reports = Home(home()).reports
    if not _writable(reports / known.id):
        reports, refused = Path.cwd() / "ablate-reports", reports
        note(f"you may not write to {refused}; the report goes to {reports}")
    folder = reports / known.id
    if single:
        page = site.build_single(known, folder.with_name(f"{folder.name}.html"))
    else:
        page = site.build(known, folder)
    overview.update(reports, page, known)
    return page


def _writable(folder: Path) -> bool:
    """Whether the folder may be made, or replaced where it is there."""
    there = [path for path in (folder, *folder.parents) if path.exists()]
    return all(os.access(path, os.W_OK) for path in there[: 1 + folder.exists()])
