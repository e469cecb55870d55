"""Mistakes a user can mend: one clear line each, shown without a traceback (exit code 2)."""

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 16
"""How many choices an error line names at most."""


class UserError(Exception):
    """A mistake in what the user gave; its text says what, where, and the nearest valid choice."""


class BrokenError(UserError):
    """The machine or its packages are at fault, not what the user gave (exit code 1)."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """The end of an error line: the closest valid choice to `word`, or else the first of them."""
    known = sorted(choices)
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    more = f", ... ({len(known)} in all)" if len(known) > SHOWN else ""
    return f"; choose one of {', '.join(known[:SHOWN])}{more}"
