"""What every table of a report is made of: columns with headings, and digits where it is shown.

A number and its 95 % interval are three columns, `score`, `score_low`, `score_high`. Values are
exact; they are rounded where they are shown to people (see `formats`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ablate.stats.intervals import Interval

# key -> (heading, digits after the point); a column that is not here is a task's score
COLUMNS: dict[str, tuple[str, int]] = {
    "round": ("Round", 0),
    "candidate": ("Candidate", 0),
    "arm": ("Arm", 0),
    "encoders": ("Encoders", 0),
    "fusion": ("Fusion", 0),
    "mark": ("Standing", 0),
    "reason": ("Reason", 0),
    "note": ("Note", 0),
    "score": ("Score", 1),
    "spread": ("Spread over seeds", 1),
    "unread": ("Unread", 0),
    "key": ("Key", 0),
    "seeds": ("Seeds", 0),
    "delta": ("Difference", 1),
    "reference": ("Reference", 0),
    "published_row": ("Published row", 0),
    "measure": ("Measure", 0),
    "published": ("Published", 1),
    "here": ("Here", 1),
    "parameters": ("Parameters", 0),
    "trainable": ("Trainable", 0),
    "seconds": ("Seconds", 0),
    "kind": ("Step", 0),
    "steps": ("Steps", 0),
    "done": ("Done", 0),
    "device_seconds": ("Device seconds", 0),
    "reused": ("Reused", 0),
    "saved": ("Seconds saved", 0),
    "share": ("Share, %", 1),
    "p": ("p", 4),
    "behind": ("Behind the best", 1),
    "p_best": ("p of the best", 4),
    "benchmark": ("Benchmark", 0),
    "questions": ("Questions", 0),
    "setting": ("Setting", 0),
    "fixed": ("Fixed", 0),
    "broken": ("Broken", 0),
    "a": ("A", 1),
    "b": ("B", 1),
    "mcnemar": ("McNemar's p", 4),
    "expert": ("Expert", 0),
    "other": ("Other", 0),
    "added": ("Adds", 1),
    "mixtures": ("Mixtures", 0),
    "last": ("Leave one out", 1),
    "shapley": ("Shapley value", 1),
    "shapley_least": ("At least", 1),
    "shapley_most": ("At most", 1),
    "wants": ("Not trained", 0),
    "together": ("Together", 1),
    "overlap": ("Overlap", 2),
    "verdict": ("Verdict", 0),
    "visual_tokens": ("Visual tokens", 0),
    "vision_gflops": ("Vision GFLOPs", 2),
    "tokens_per_second": ("Tokens/s", 0),
    "device_hours": ("Device-hours", 3),
    "gpu_hours": ("GPU-hours", 5),
    "front": ("Pareto front", 0),
    "resolution": ("Pixels", 0),
    "unfrozen": ("Unfrozen", 0),
    "objective": ("Objective", 0),
    "adapters": ("Adapters", 0),
    "prealigned": ("Pre-aligned", 0),
    "wins": ("Would be chosen, %", 1),
    "without": ("Would be chosen without", 0),
    "above": ("Above its reference, %", 1),
    "masked": ("Loses", 1),
    "trained": ("Trained without it", 1),
    "used": ("CUR, %", 1),
    "gap": ("Information gap, %", 1),
    "family": ("Benchmarks", 0),
    "kept": ("Keeps", 0),
    "saved_flops": ("Vision FLOPs saved, %", 0),
    "severity": ("Severity", 0),
    "where": ("Where", 0),
    "finding": ("Finding", 0),
}

LEAST_P = 1e-4
"""What a smaller p-value is shown as."""
P_VALUES = ("p", "p_best", "mcnemar")
SIGNED = (
    "delta",
    "behind",
    "added",
    "masked",
    "trained",
    "last",
    "shapley",
    "shapley_least",
    "shapley_most",
    "together",
)
"""Columns whose numbers are shown with their sign: differences."""


def of_these_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with values of p headed as such of these runs alone: training noise is not in."""
    heads = {name: f"{COLUMNS[name][0]}, of this run" for name in P_VALUES}
    frame.attrs["heads"] = heads
    return frame


def digits(column: str) -> int:
    """How many digits after the point a column's numbers have."""
    stem = column.removesuffix("_low").removesuffix("_high")
    return COLUMNS.get(stem, ("", 1))[1]


def framed(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """The rows as `typed` has them; `columns` are what is left of a table without any."""
    return typed(pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(columns)))


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with numbers as `float64`, or `Int64` where all are whole and shown so.

    Unknown ones are NaN or NA; in a column of words (`object`) None.
    """
    columns = {
        str(name): _column(str(name), plain_values(frame[name]), frame.index)
        for name in frame.columns
    }
    return pd.DataFrame(columns, index=frame.index, columns=list(columns))


def plain_values(column: pd.Series) -> list[Any]:
    """What a column holds; as `plain` has it, which takes pandas ten times as long."""
    unknown = column.isna().tolist()
    return [None if gone else value for value, gone in zip(column.tolist(), unknown, strict=True)]


def _column(name: str, values: list[Any], index: pd.Index) -> pd.Series:
    known = [value for value in values if value is not None]
    words = not digits(name) and not known
    if words or any(isinstance(value, str | bool) for value in known):
        return pd.Series(values, index, object)
    whole = not digits(name) and all(value == int(value) for value in known)
    return pd.Series(values, index, "Int64" if whole else "float64")


def plain(data: Any) -> Any:
    """A frame or a column of Python's own values, None where one is unknown."""
    return data.astype(object).where(data.notna(), None)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The frame's rows as dicts by column; what is unknown is None."""
    rows = plain(frame).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    """The two columns of an interval."""
    return {
        f"{name}_low": interval.low if interval else None,
        f"{name}_high": interval.high if interval else None,
    }


def estimate(name: str, interval: Interval | None) -> dict[str, float | None]:
    """The three columns of an estimate with its interval."""
    return {name: interval.estimate if interval else None, **ends(name, interval)}
