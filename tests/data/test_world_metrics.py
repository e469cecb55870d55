"""The published metrics, on published and worked-out cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.data.world.metrics import anls, exact_match, f1, levenshtein, relaxed_accuracy

WORDS = st.text("abc", max_size=6)


def test_exact_match_forgives_case_and_blanks_only() -> None:
    assert exact_match(" Red ", "red") == 1
    assert exact_match("red car", "red") == 0


@pytest.mark.parametrize(
    ("prediction", "truths", "score"),
    [
        ("42", ["42"], 1.0),
        ("43", ["42"], 0.0),  # half of it is wrong: at the threshold already nothing
        ("KAX", ["KAL"], 2 / 3),
        ("kal", ["KAL"], 1.0),
        ("", ["42"], 0.0),
        ("hello", ["jello", "hello there"], 0.8),
    ],
)
def test_anls(prediction: str, truths: list[str], score: float) -> None:
    assert anls(prediction, truths) == pytest.approx(score)


@pytest.mark.parametrize(
    ("prediction", "truth", "score"),
    [("105", "100", 1), ("106", "100", 0), ("95 %", "100%", 1), ("0", "0", 1), ("red", "Red", 1)],
)
def test_relaxed_accuracy(prediction: str, truth: str, score: float) -> None:
    assert relaxed_accuracy(prediction, truth) == score


def test_f1_counts_yes_as_the_positive_answer() -> None:
    assert f1(["yes", "yes", "no", "no"], ["yes", "no", "yes", "no"]) == 0.5
    assert f1(["yes", "yes"], ["yes", "no"]) == pytest.approx(2 / 3)
    assert f1(["no", "no"], ["yes", "no"]) == 0
    assert f1(["maybe"], ["yes"]) == 0


@given(a=WORDS, b=WORDS, c=WORDS)
def test_levenshtein_is_a_metric(a: str, b: str, c: str) -> None:
    assert levenshtein(a, b) == levenshtein(b, a)
    assert (levenshtein(a, b) == 0) == (a == b)
    assert levenshtein(a, c) <= levenshtein(a, b) + levenshtein(b, c)
    assert abs(len(a) - len(b)) <= levenshtein(a, b) <= max(len(a), len(b))
