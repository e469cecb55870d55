"""`ablate fetch`: gets what a study needs, and lists what is here and what is missing."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from textwrap import fill, indent
from typing import Any

from ablate.catalog.weights import weights_home
from ablate.commands.output import columns, emit_json, note, say
from ablate.config.study import load_study, named_llms, named_towers
from ablate.errors import UserError
from ablate.files import datasets
from ablate.hub import download
from ablate.hub.needs import Need, needs, repositories, towers

BY_HAND = "on no hub as it is needed: get or make it by hand, and put it there"


def run(name: str, overrides: Sequence[str], dry_run: bool, as_json: bool) -> int:
    """Fetch what the study lacks (`dry_run`: nothing), list all it needs; 1 if some is missing."""
    # Without a model that is known by its repository alone, there is no study yet.
    rows = _brought(partial(repositories, named_llms(name, overrides)), dry_run)
    rows += _brought(partial(towers, named_towers(name, overrides)), dry_run)
    if complete := _whole(rows):
        study = load_study(name, overrides)
        rows += _brought(partial(needs, study), dry_run)
        name, complete = study.name, _whole(rows)
    else:
        note("what else the study needs can be said when what is missing is here")
    if as_json:
        emit_json({"study": name, "complete": complete, "needs": rows})
    else:
        say(as_text(name, rows))
    return int(not complete)


def _brought(wanted: Callable[[], Sequence[Need]], dry_run: bool) -> list[dict[str, Any]]:
    """What is `wanted`, fetched where it is not here (`dry_run`: not), as JSON values."""
    lacking = [] if dry_run else [need for need in wanted() if not need.here]
    failures = {need.path: _fetch(need) for need in lacking}
    return [_row(need, failures.get(need.path)) for need in wanted()]


def _whole(rows: Sequence[dict[str, Any]]) -> bool:
    return all(row["state"] != "missing" for row in rows)


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
        "place": str(need.path),
    }
    if not need.here:
        row["reason"] = failure or ("" if need.get else BY_HAND)
    return row


def _short(path: str) -> str:
    """The path, from the folder of weights or data where it is below one."""
    for name, folder in ("$ABLATE_WEIGHTS", weights_home()), ("$ABLATE_DATA", datasets()):
        if path.startswith(f"{folder}/"):
            return name + path.removeprefix(str(folder))
    return path


def _indented(names: Iterable[str]) -> str:
    return indent(fill(", ".join(names), 98, break_on_hyphens=False), "  ")
