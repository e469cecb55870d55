"""What no other beats: the front of several objectives (Pareto)."""

from collections.abc import Mapping

Values = Mapping[str, float]


def undominated(values: Mapping[str, Values], ways: Mapping[str, str]) -> list[str]:
    """The names that no other is at least as good as in every objective, and better in one.

    `values`: by name and objective; `ways`: `maximize` or `minimize`, by objective.
    """

    def beats(a: Values, b: Values) -> bool:
        gains = [
            (a[name] - b[name]) * (1 if way == "maximize" else -1) for name, way in ways.items()
        ]
        return min(gains) >= 0 and max(gains) > 0

    return [
        name
        for name, each in values.items()
        if not any(beats(other, each) for other in values.values())
    ]
