"""`ablate table` and `ablate report`."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ablate.commands.output import emit_json, note
from ablate.config.study import Study, load_study
from ablate.files import home
from ablate.store.read_cache import all_of_use


@all_of_use()
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
        emit_json({"study": study.name, "path": str(path)})
    else:
        print(path)
    if show:
        _open(path.as_uri())


def live(name: str, overrides: Sequence[str], port: int, show: bool) -> None:
    """Serve the report, and print its address, until a Ctrl-C."""
    from ablate.reports.live import served

    with served(load_study(name, overrides), port, tell=note) as address:
        print(address, flush=True)
        note("a newer report comes by itself; Ctrl-C ends it")
        if show:
            _open(address)
        threading.Event().wait()


def _open(address: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        note("no browser to open it with")


def render(study: Study, form: str, last: int | None = None) -> str:
    """The table of a study (its rounds 1 to `last`) in one of the formats."""
    from ablate.reports import formats, tables
    from ablate.reports.load import load

    found = load(study, last=last)
    frame = tables.comparison(found)
    return formats.render(frame, form, tables.caption(found), tables.notes(found))


def beside_paper(study: Study, form: str) -> str:
    """Published, ours and the difference."""
    from ablate.reports import against, formats
    from ablate.reports.load import load

    found = load(study)
    return formats.render(
        against.against(found), form, against.caption(found), against.notes(found)
    )


def sure(study: Study, form: str) -> str:
    """Which differences are more than chance, and what the suite can tell at all."""
    from ablate.reports import formats, significance
    from ablate.reports.load import load

    found = load(study)
    caption = f"{study.title}: which differences are more than chance"
    return formats.render(
        significance.significance(found), form, caption, significance.notes(found)
    )


def build(study: Study, single: bool = False) -> Path:
    """Write the report below `home()/reports`; the path of its first page, or of its only file."""
    from ablate.reports import site
    from ablate.reports.load import load

    folder = home() / "reports" / study.name
    if single:
        return site.build_single(load(study), folder.with_name(f"{folder.name}.html"))
    return site.build(load(study), folder)
