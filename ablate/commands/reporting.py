"""`ablate table` and `ablate report`."""

from collections.abc import Sequence
from pathlib import Path

from ablate.commands.output import emit_json, note
from ablate.files import home
from ablate.study import Study, load_study


def table(name: str, overrides: Sequence[str], form: str, paper: bool) -> None:
    """Print the study's table of rounds or arms, or (`paper`) beside the published numbers."""
    study = load_study(name, overrides)
    print(beside_paper(study, form) if paper else render(study, form), end="")


def report(name: str, overrides: Sequence[str], show: bool, as_json: bool) -> None:
    """Build the report and print the path of its first page."""
    study = load_study(name, overrides)
    index = build(study)
    if as_json:
        emit_json({"study": study.name, "path": str(index)})
    else:
        print(index)
    if show:
        import webbrowser

        if not webbrowser.open(index.as_uri()):
            note("no browser to open it with")


def render(study: Study, form: str, last: int | None = None) -> str:
    """The table of a study (its rounds 1 to `last`) in one of the formats."""
    from reports import formats, tables
    from reports.load import load

    found = load(study, last=last)
    return formats.render(tables.comparison(found), form, tables.caption(found))


def beside_paper(study: Study, form: str) -> str:
    """Published, ours and the difference; of a study of our own tasks the finding in words."""
    from reports import against, formats, tables
    from reports.load import load

    found = load(study)
    notes = against.notes(found)
    if against.comparable(found):
        return formats.render(against.against(found), form, against.caption(found), notes)
    return formats.render(tables.comparison(found), form, tables.caption(found), notes)


def build(study: Study) -> Path:
    """Write the report below `home()/reports`; the path of its first page."""
    from reports.load import load
    from reports.site import build as write

    return write(load(study), home() / "reports" / study.name)
