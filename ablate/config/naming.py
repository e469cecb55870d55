"""What a study is filed under: a name that no other study has."""

import os
from pathlib import Path
from typing import Any

from ablate.files import sha256_json


def study_id(name: str, path: Path, shelf: Path, written: Any, changed: Any) -> str:
    """Such as `micro/rounds`, `mine-5f0c21ab`, `micro/rounds-77d0e9c3`.

    A study is a file and what overrides change of it (`written`, then `changed`: plain trees), so
    that it stays the same while its file is edited. One of the `shelf` is called by its name alone;
    others of that name are told apart by eight hex digits of the file's real path and of the
    changes. Ways to run it (`infra`) tell no studies apart, for they do not change a result.
    """
    changes = _changes(written, changed)
    identity: list[Any] = [
        {at: value for at, value in changes.items() if at.split(".")[0] != "infra"}
    ]
    if path != shelf / f"{name}.yaml":
        identity.append(os.path.realpath(path))
    return f"{name}-{sha256_json(identity)[:8]}" if identity != [{}] else name


def _changes(before: Any, after: Any, path: str = "") -> dict[str, Any]:
    """What is in `after` otherwise than in `before`, by dotted path."""
    if not (isinstance(before, dict) and isinstance(after, dict) and before.keys() <= after.keys()):
        return {} if before == after else {path: after}
    changes: dict[str, Any] = {}
    for field, value in after.items():
        changes |= _changes(before.get(field, _ABSENT), value, f"{path}.{field}" if path else field)
    return changes


_ABSENT = object()
