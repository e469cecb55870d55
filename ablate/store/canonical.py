"""JSON that is the same for the same value only, and a value by content, not by place: of these the
keys of steps are made. Imports no torch.
"""

import json
from functools import cache, cached_property
from typing import Any

PLAIN = frozenset({str, int, float, bool, type(None)})
"""What JSON keeps as it is; a call for each of them is what making keys would take longest over."""


def canonical(value: Any) -> str:
    """`value` as JSON that is the same for the same value only: sorted, `1`, `1.0`, `"1"` differ.

    Raises TypeError for what JSON would change or lose (tuples aside), ValueError for NaN.
    """
    _check(value)
    return _JSON.encode(value)


_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
quoted = cache(_JSON.encode)
"""A word as JSON."""


def _check(value: Any) -> None:
    if type(value) is dict or type(value) is Part:
        for key, child in value.items():
            if type(key) is not str:
                raise TypeError(f"the key {key!r} is no string")
            if type(child) not in PLAIN:
                _check(child)
    elif type(value) in {list, tuple}:
        for child in value:
            if type(child) not in PLAIN:
                _check(child)
    elif type(value) not in PLAIN:
        raise TypeError(f"{value!r} has no canonical JSON")


def by_content(value: Any) -> Any:
    """`value` by content, not by place: what has a fingerprint or a checksum may move.

    A published repository is no place but a name, and stays.
    """
    if isinstance(value, dict):
        if "fingerprint" in value:
            return {"fingerprint": value["fingerprint"]}
        moves = value.get("sha256") and value.get("kind") != "published"
        places = {"ref"} if moves else set()
        return {
            key: child if type(child) in PLAIN else by_content(child)
            for key, child in value.items()
            if key not in places
        }
    return [by_content(child) for child in value] if isinstance(value, list) else value


class Part(dict[str, Any]):
    """A part of specs, one object for all that share it, so that its share of keys is made once."""

    @cached_property
    def text(self) -> str:
        """The canonical JSON of what it is by content."""
        return canonical(by_content(dict(self)))


def text_of(value: Any) -> str:
    """The same of any value, of a `Part` made once."""
    if type(value) is int:
        return str(value)
    return value.text if type(value) is Part else canonical(by_content(value))
