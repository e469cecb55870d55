"""Text as a terminal may have it: what a study or a model wrote gives it no orders.

Control characters (escape sequences among them), marks that turn the direction of writing, and
halves of characters are shown by their code, `\\x1b`, `\\u202e`.
"""

import re

_ORDERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text with such characters by their code; tabs and ends of lines stay."""
    return _ORDERS.sub(_code, text)


def one_line(text: object) -> str:
    """`printable`, without ends of lines and runs of blanks: what stands in a line or a cell."""
    return printable(" ".join(str(text).split()))


def printable_json(text: str) -> str:
    """JSON with such characters in its strings escaped, so that it says the same."""
    return _ORDERS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _code(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
