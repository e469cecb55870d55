"""What must not be written down: passwords and tokens, of the environment or by their form."""

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote

_NAMES = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEY|_KEY$"
    r"|(^|_)(PASS|PW|PAT|AUTH|COOKIE)$|_PWD$|_DSN$|(^|_)(DB|DATABASE)_UR[IL]$",
    re.I,
)
"""Of variables whose whole value is secret. `PWD` and `OLDPWD` are folders."""
_LOGIN = re.compile(r"((?<![\w+.-])[\w+.-]+://)(?:([^\s/:@]*):)?([^\s/@]+)@")
"""What stands before the host of an address: `user:password@`, or a token alone. A scheme is looked
for from where its word begins, once, and not from each letter of a long line."""
_FORMS = (
    (_LOGIN, r"\1***@"),
    (
        re.compile(r"([?&](?:\w*(?:token|secret|password|key)|sig|signature)=)(?!\$)[^&\s\"']+"),
        r"\1***",
    ),
    (re.compile(r"\b(?:hf_|gh[opsu]_|github_pat_|glpat-|sk-|xox[abprs]-|AKIA)[\w-]{16,}"), "***"),
    (re.compile(r"(\bAuthorization: *\w+ +)(?!\$)\S+", re.I), r"\1***"),
)
"""Secrets that are known by their form: no variable of this process need hold them."""
_ASSIGNED = re.compile(r"\b([A-Z][A-Z0-9_]*)=(?!\$)(\"[^\"\n]*\"|'[^'\n]*'|[^\s\"']+)")
"""A variable that is set, as a shell tells it."""
_SHORTEST = 6
"""Characters below which a value is no secret, and would be found in many a word."""


def redact(text: str) -> str:
    """`text` with `$NAME` in place of each secret value of the environment, the longest first.

    In place of what looks like one stands `***`: a login in an address, a key of a known form,
    `X_PASS=...`.
    """
    secrets = _values(tuple(os.environ.items()))
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, f"${secrets[value]}")
    for form, instead in _FORMS:
        text = form.sub(instead, text)
    return _ASSIGNED.sub(_unless_secret, text)


def secret_names() -> list[str]:
    """The variables of the environment whose values are taken out of what is shown."""
    return sorted(set(_values(tuple(os.environ.items())).values()))


@lru_cache(maxsize=1)
def _values(environment: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """Secret values of the environment, and the name of the variable that each is in."""
    values: dict[str, str] = {}
    for name, value in environment:
        secret = [value] if _NAMES.search(name) else []
        for login in _LOGIN.finditer(value):
            secret += [login[3], unquote(login[3])]
        values |= {value: name for value in secret if len(value) >= _SHORTEST}
    return values


def _unless_secret(match: re.Match[str]) -> str:
    name, value = match.groups()
    secret = _NAMES.search(name) and len(value.strip("\"'")) >= _SHORTEST
    return f"{name}=***" if secret else match[0]
