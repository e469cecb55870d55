"""The metrics of users' own benchmarks, as functions of an answer and the truth, from 0 to 1."""

import re
from collections import Counter
from collections.abc import Callable, Mapping

from ablate.catalog.metrics import option_letter
from ablate.data.world.metrics import anls, exact_match, relaxed_accuracy


def contains(answer: str, truth: str) -> float:
    """1 if the words of the truth stand in the answer, in a row, whatever case and punctuation."""
    said, wanted = words(answer), words(truth)
    places = range(len(said) - len(wanted) + 1)
    return float(any(said[n : n + len(wanted)] == wanted for n in places))


def choice(answer: str, truth: str) -> float:
    """1 if the answer names the option that the truth names (`option_letter`)."""
    said = option_letter(answer)
    return float(said is not None and said == option_letter(truth))


def token_f1(answer: str, truth: str) -> float:
    """F1 of the answer's words, as a bag, against the truth's (SQuAD, Rajpurkar et al. 2016)."""
    said, wanted = Counter(words(answer)), Counter(words(truth))
    both = (said & wanted).total()
    return 2 * both / (said.total() + wanted.total()) if both else 0.0


def words(text: str) -> list[str]:
    """In lower case; marks between words are none, those within (`3.5`, `it's`) stay."""
    return re.findall(r"\w+(?:[.,:'/-]\w+)*", text.lower())


METRICS: Mapping[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "relaxed_accuracy": relaxed_accuracy,
    "anls": lambda answer, truth: anls(answer, [truth]),
    "contains": contains,
    "choice": choice,
    "token_f1": token_f1,
}


def misfit(metric: str, truth: str) -> str | None:
    """Why a metric cannot score answers to a question with this truth; None if it can."""
    if metric == "choice" and option_letter(truth) is None:
        return f"the metric choice needs the letter of an option, and the answer is {truth!r}"
    if metric in {"contains", "token_f1"} and not words(truth):
        return f"the metric {metric} needs words, and the answer is {truth!r}"
    return None
