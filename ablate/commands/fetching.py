"""`ablate fetch`: gets what a study needs, and lists what is here and what is missing."""

from collections.abc import Iterable, Sequence
from textwrap import fill, indent
from typing import Any

from ablate import download
from ablate.commands.output import columns, emit_json, note
from ablate.errors import UserError
from ablate.fetch import Need, needs
from ablate.files import datasets
from ablate.hub import weights_home
from ablate.study import load_study

BY_HAND = "on no hub as it is needed: get or make it by hand, and put it there"


def run(name: str, overrides: Sequence[str], dry_run: bool, as_json: bool) -> int:
    """Fetch what the study lacks (`dry_run`: nothing), list all it needs; 1 if some is missing."""
    study = load_study(name, overrides)
    wanted = [need for need in needs(study) if not need.here]
    failures = {} if dry_run else {need.place: _fetch(need) for need in wanted}
    rows = [_row(need, failures.get(need.place)) for need in needs(study)]
    complete = all(row["state"] != "missing" for row in rows)
    if as_json:
        emit_json({"study": study.name, "complete": complete, "needs": rows})
    else:
        print(as_text(study.name, rows))
    return int(not complete)


def as_text(study: str, rows: Sequence[dict[str, Any]]) -> str:
    """The list in columns, why each missing thing is missing, and a line that sums it up."""
    if not rows:
        return f"{study} needs nothing that does not come with ablate"
    reasons: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.get("reason"):
            reasons.setdefault(row["reason"], {})[f"{row['kind']} {row['names'][0]}"] = None
    cells = [
        (
            row["kind"],
            ", ".join(row["names"]),
            row["state"],
            f"{row['origin'] or '-'}: {row['files']}",
            _short(row["place"]),
        )
        for row in rows
    ]
    missing = sum(row["state"] == "missing" for row in rows)
    return "\n\n".join(
        (
            columns(("NEEDED", "NAME", "STATE", "FROM", "AT"), cells),
            *(f"{reason}:\n{_indented(named)}" for reason, named in reasons.items()),
            f"$ABLATE_WEIGHTS is {weights_home()}, $ABLATE_DATA is {datasets()}\n"
            f"{study}: {len(rows) - missing} of {len(rows)} are here, {missing} missing",
        )
    )


def _fetch(need: Need) -> str:
    """Get it; why it could not be got, or nothing."""
    if need.get is None:
        return BY_HAND
    if not download.unreachable():
        note(f"fetching {need.kind} {need.names[0]}: {need.files} of {need.origin} ...")
    try:
        need.get()
    except (UserError, OSError) as error:  # the disk, too
        return " ".join(str(error).split())
    return ""


def _row(need: Need, failure: str | None) -> dict[str, Any]:
    """A need as JSON values. `failure`: why it could not be fetched now; None: it was not tried."""
    row: dict[str, Any] = {
        "kind": need.kind,
        "names": list(need.names),
        "state": "missing" if not need.here else "here" if failure is None else "fetched",
        "origin": need.origin,
        "files": need.files,
        "place": str(need.place),
    }
    if not need.here:
        row["reason"] = failure or ("" if need.get else BY_HAND)
    return row


def _short(place: str) -> str:
    """The path, from the folder of weights or data where it is below one."""
    for name, folder in ("$ABLATE_WEIGHTS", weights_home()), ("$ABLATE_DATA", datasets()):
        if place.startswith(f"{folder}/"):
            return name + place.removeprefix(str(folder))
    return place


def _indented(names: Iterable[str]) -> str:
    return indent(fill(", ".join(names), 98, break_on_hyphens=False), "  ")
