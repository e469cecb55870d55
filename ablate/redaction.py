"""What must not be written down: the values of environment variables that name a secret."""

import os
import re

_NAMES = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEY|_KEY$", re.I
)
_SHORTEST = 6
"""Characters below which a value is no secret, and would be found in many a word."""


def redacted(text: str) -> str:
    """`text` with `$NAME` in place of the value of each such variable, the longest first."""
    secrets = {
        value: name
        for name, value in os.environ.items()
        if _NAMES.search(name) and len(value) >= _SHORTEST
    }
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, f"${secrets[value]}")
    return text
