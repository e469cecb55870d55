"""`ablate logs`: what a step printed, found by the start of its key or of its name."""

import sys
import time
from pathlib import Path

from ablate.commands.output import emit_json
from ablate.errors import UserError, nearest
from ablate.files import home


def show(given: str, follow: bool, as_json: bool) -> None:
    """Print the last attempt's log of the step; with `follow`, go on while the step is at work."""
    folder = find(given)
    path = _last(folder)
    if as_json:
        text = path.read_text(encoding="utf-8", errors="replace")
        emit_json({"step": folder.name, "path": str(path), "text": text})
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        sys.stdout.write(file.read())
        while follow and _at_work(folder.name):
            sys.stdout.flush()
            time.sleep(0.3)
            sys.stdout.write(file.read())
        sys.stdout.write(file.read())


def find(given: str) -> Path:
    """The log folder (`<kind>-<slug>-<12 of the key>`) of the one step that `given` begins.

    `given` is the start of a key, or `kind/name`, `kind name` or `name` in part. Raises UserError
    for none or several.
    """
    folders = sorted(path for path in (home() / "logs").glob("*") if any(path.glob("*.log")))
    if not folders:
        raise UserError(f"no step has printed anything yet below {home()}")
    word = given.replace("/", "-", 1).replace(" ", "-", 1)
    exact = [one for one in folders if one.name == word or _key(one).startswith(given)]
    found = exact or [one for one in folders if one.name.startswith(word) or given in one.name]
    if not found:
        raise UserError(
            f"no step '{given}' has a log{nearest(word, [one.name for one in folders])}"
        )
    if len(found) > 1 and len({_key(one) for one in found}) > 1:
        names = ", ".join(one.name for one in found[:6]) + (", ..." if len(found) > 6 else "")
        raise UserError(f"'{given}' begins {len(found)} steps: {names}")
    return found[0]


def _key(folder: Path) -> str:
    return folder.name.rpartition("-")[2]


def _last(folder: Path) -> Path:
    """The log of the last attempt."""
    return max(folder.glob("attempt-*.log"), key=lambda path: int(path.stem.rpartition("-")[2]))


def _at_work(name: str) -> bool:
    """Whether the step still has a lease, which it loses when it ends."""
    from ablate.lease import look

    kind, _, dirname = name.partition("-")
    holding = look(home() / "leases" / kind / dirname)
    return bool(holding and not holding.released and holding.owner and holding.owner.runs())
