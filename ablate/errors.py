"""Mistakes a user can mend: one clear line each, shown without a traceback (exit code 2)."""

from fusion_zoo import listed as listed
from fusion_zoo import nearest as nearest  # the end of such a line


class UserError(Exception):
    """A mistake in what the user gave; its text says what, where, and the nearest valid choice."""


class BrokenError(UserError):
    """The machine or its packages are at fault, not what the user gave (exit code 1)."""
