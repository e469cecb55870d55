"""A row of the table that `make bench` prints, and that each benchmark prints of its own."""

import argparse
import inspect
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """What users pay for, `ours`, and what it stands `beside`, in one `unit`, of the same run."""

    what: str
    ours: float
    unit: str
    beside: str
    theirs: float

    @property
    def ratio(self) -> float:
        """How many times as much ours costs."""
        return self.ours / self.theirs if self.theirs else float("inf")


def shown(rows: Sequence[Row]) -> str:
    """The rows as text, below a head."""
    lines = [f"{'what':40} {'ours':>10} {'beside':>10} {'':12} {'times':>7}"]
    lines += [
        f"{row.what:40} {row.ours:10.4g} {row.theirs:10.4g} {row.unit:12} {row.ratio:6.3g}x  "
        f"of {row.beside}"
        for row in rows
    ]
    return "\n".join(lines)


def run(rows: Callable[..., Sequence[Row]], doc: str | None) -> None:
    """Be the command of a benchmark: what `rows` takes are its options, all of them numbers."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    for name, parameter in inspect.signature(rows).parameters.items():
        words = f"default {parameter.default:,}"
        parser.add_argument(f"--{name}", type=int, default=parameter.default, help=words)
    print(shown(rows(**vars(parser.parse_args()))))
