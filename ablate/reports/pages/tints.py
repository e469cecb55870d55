"""Tints of a table's cells: how much is gained or lost, in shades that can be told apart."""

from math import ceil

import pandas as pd

from ablate.reports.frame import digits

SHADES = 4
"""Shades of a tint, of what is added and of what is lost."""


def tint_step(added: pd.Series) -> float:
    """Points from one shade to the next, for all to be told: a round number."""
    most = max(float(added.abs().max()), 0.1) / SHADES
    scales = (base * 10.0**power for power in range(-2, 3) for base in (1, 2, 2.5, 5))
    return next((scale for scale in scales if scale >= most), most)


def tint(added: float, step: float) -> str:
    """The class of a cell: `gain-1` to `gain-4`, the same of `loss`, none for zero as shown."""
    added = round(added, digits("added"))
    shade = min(ceil(round(abs(added) / step, 6)), SHADES)
    return f"{'gain' if added > 0 else 'loss'}-{shade}" if shade else ""


def legend(step: float) -> list[tuple[str, str]]:
    """The classes from the greatest loss to the greatest gain, each with where it ends."""
    losses = [(f"loss-{shade}", f"{-shade * step:+g}") for shade in range(SHADES, 0, -1)]
    gains = [(f"gain-{shade}", f"{shade * step:+g}") for shade in range(1, SHADES + 1)]
    return [*losses, ("", "0"), *gains]
