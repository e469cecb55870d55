"""`ablate table` and `ablate report`."""

from collections.abc import Sequence
from pathlib import Path

from ablate.commands.output import emit_json, note
from ablate.files import home
from ablate.study import Study, load_study


def table(name: str, overrides: Sequence[str], form: str) -> None:
    """Print the study's table of rounds or arms."""
    print(render(load_study(name, overrides), form), end="")


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


def build(study: Study) -> Path:
    """Write the report below `home()/reports`; the path of its first page."""
    from reports.load import load
    from reports.site import build as write

    return write(load(study), home() / "reports" / study.name)
