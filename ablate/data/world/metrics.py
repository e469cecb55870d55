"""The benchmarks' published metrics, as pure functions of answers; every score lies in 0..1."""

from collections.abc import Sequence

ANLS_THRESHOLD = 0.5
RELAXED_TOLERANCE = 0.05


def exact_match(prediction: str, truth: str) -> float:
    """1 if the two agree but for case and blanks around them, else 0."""
    return float(_plain(prediction) == _plain(truth))


def anls(prediction: str, truths: Sequence[str]) -> float:
    """Average normalised Levenshtein similarity of one answer (Biten et al. 2019, eq. 1).

    The best over the accepted truths of 1 - distance / longer length, and 0 where that distance is
    half of the length or more.
    """
    best = 0.0
    for truth in truths:
        a, b = _plain(prediction), _plain(truth)
        far = levenshtein(a, b) / max(len(a), len(b), 1)
        best = max(best, 1 - far if far < ANLS_THRESHOLD else 0.0)
    return best


def relaxed_accuracy(prediction: str, truth: str) -> float:
    """ChartQA's accuracy (Masry et al. 2022): numbers may be 5 % off, other answers must agree."""
    try:
        given, wanted = float(prediction.rstrip("% ")), float(truth.rstrip("% "))
    except ValueError:
        return exact_match(prediction, truth)
    if wanted == 0:
        return float(given == 0)
    return float(abs(given - wanted) / abs(wanted) <= RELAXED_TOLERANCE)


def f1(predictions: Sequence[str], truths: Sequence[str], positive: str = "yes") -> float:
    """F1 of the `positive` answer (POPE, Li et al. 2023); 0 without a true positive."""
    given = [_plain(prediction) == positive for prediction in predictions]
    wanted = [_plain(truth) == positive for truth in truths]
    both = sum(a and b for a, b in zip(given, wanted, strict=True))
    return 2 * both / (sum(given) + sum(wanted)) if both else 0.0


def levenshtein(a: str, b: str) -> int:
    """Least number of characters to insert, delete or replace to turn `a` into `b`."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1]


def _plain(answer: str) -> str:
    return " ".join(answer.lower().split())
