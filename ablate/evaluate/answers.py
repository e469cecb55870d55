"""lmms-eval's samples as rows of `answers.jsonl`: each answer with a score and a weight.

A score lies in 0..1, and a task's metric is the weighted mean of its scores, on the whole set
exactly; so intervals can be had for every metric from the rows alone (see `statistics`). For most
tasks lmms-eval gives the score of each answer. The others are taken apart here:

- MME's perception is a sum over categories of accuracy plus the share of pictures with both their
  questions right. A right answer scores 1/2, and 1 if its partner is right too; a category weighs
  the same however large it is. Questions of cognition weigh nothing.
- POPE's F1 is 2TP / (2TP + FP + FN): see `statistics`. As in lmms-eval, an answer that is neither
  yes nor no counts as nothing at all.
- MMBench asks a question in several orders of its options; the first asking scores 1 if all are
  right, and the others weigh nothing.
- OCRBench divides by 1000 whatever was asked, and MME adds up its ten categories: of a part of
  the set, what counts is the mean over what was asked.
- MMMU and MathVista are rounded by lmms-eval, which the check in `score` allows for.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from ablate.catalog.suites import SuiteTask
from ablate.errors import UserError, nearest

Row = dict[str, Any]
Scores = list[tuple[float, float]]
"""Score (0..1) and weight of each sample."""
SCORE = ("score", "is_correct", "correct", "hit", "acc", "accuracy")
"""What scorers call the score of an answer; that their mean is the metric, is checked."""
SAMPLE = frozenset(
    ("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "token_counts", "doc_hash")
) | {"input_media"}
"""What lmms-eval says of each answer beside its metrics."""


class MetricReader(NamedTuple):
    """How a task's samples are scored one by one, from what they hold of the metric.

    `share`: how much of the whole set they are, for figures that take a whole set for granted;
    `rounding`: how far lmms-eval's figure may be off the exact one, in 0..1.
    """

    scores: Callable[[Sequence[Any]], Scores]
    share: Callable[[Sequence[Any]], float] = lambda held: 1.0
    rounding: float = 1e-9


def rescale(task: SuiteTask, found: float, samples: Sequence[Row]) -> float:
    """lmms-eval's figure of the task's metric as it would be if `samples` were the whole set."""
    return found / _reading(task).share(_held(task, samples))


def rounding(task: SuiteTask) -> float:
    """How far the figure may be off what the rows give, in 0..1."""
    return _reading(task).rounding


def rows(task: SuiteTask, samples: Sequence[Row], questions: Sequence[Row]) -> list[Row]:
    """The rows of `answers.jsonl`; `samples` and `questions` in the same order."""
    scored = _reading(task).scores(_held(task, samples))
    return [
        {
            "task": task.task,
            **{field: question[field] for field in ("id", "image", "question")},
            "truth": truth(sample),
            "answer": sample["filtered_resps"][0],
            "score": float(score),
            "weight": float(weight),
        }
        for sample, question, (score, weight) in zip(samples, questions, scored, strict=True)
    ]


def require_score(task: SuiteTask, given: Row) -> None:
    """UserError where what a scorer has `given` for an answer holds no score of it."""
    held = given[metric_name(task)]
    if _reading(task).scores is _given and held is not None:
        _given([held])


def metric_name(task: SuiteTask) -> str:
    """The metric without its filter: what a scorer calls it."""
    return task.metric.split(",")[0]


def _reading(task: SuiteTask) -> MetricReader:
    return METRIC_READERS.get(metric_name(task), MetricReader(_given))


def _held(task: SuiteTask, samples: Sequence[Row]) -> list[Any]:
    """What each sample holds of the metric; None where it does not enter it.

    Raises `RuntimeError` where none of them does.
    """
    held = [sample.get(metric_name(task)) for sample in samples]
    if all(one is None for one in held):
        given = {key for sample in samples for key in sample.keys() - SAMPLE}
        close = nearest(metric_name(task), given) if given else ""
        raise RuntimeError(f"{task.task}: lmms-eval scores no answer by {metric_name(task)}{close}")
    return held


def truth(sample: Row) -> str:
    """The right answer, or the first that is accepted."""
    doc = sample["doc"]
    found = doc["answers"] if "answers" in doc and "answer" not in doc else sample["target"]
    found = found[0] if isinstance(found, list) else found
    return str(found["answer"] if isinstance(found, Mapping) else found)


def _given(held: Sequence[Any]) -> Scores:
    """The score is there, as a number or (perhaps with a weight) in a mapping.

    UserError where it is not: a metric of all answers together has no interval.
    """
    return [_part(one if isinstance(one, Mapping) else {"score": one}) for one in held]


def _part(one: Mapping[str, Any]) -> tuple[float, float]:
    found = next((one[key] for key in SCORE if isinstance(one.get(key), bool | int | float)), None)
    if found is None:
        keys = ", ".join(sorted(one))
        raise UserError(
            f"lmms-eval gives its answers no score of their own (it gives {keys}): the metric is "
            "made of all of them together, or by a judge, and has no interval here"
        )
    return float(found), float(one.get("weight", 1.0))


def _mme(held: Sequence[Any]) -> Scores:
    asked = [one for one in held if one is not None]
    size = Counter(one["category"] for one in asked)
    right: Counter[tuple[str, str]] = Counter()
    for one in asked:
        right[one["category"], one["question_id"]] += one["score"]
    return [
        (one["score"] * right[one["category"], one["question_id"]] / 2, 1 / size[one["category"]])
        if one is not None
        else (0.0, 0.0)
        for one in held
    ]


def _mme_share(held: Sequence[Any]) -> float:
    return len({one["category"] for one in held if one is not None}) / 10


def _pope(held: Sequence[Any]) -> Scores:
    def part(truth: str, said: str) -> tuple[float, float]:
        if said not in ("yes", "no"):
            return 0.0, 0.0
        return float(said == truth), float((said == "yes") + (truth == "yes"))

    return [part(one["ground_truth"], one["prediction"]) for one in held]


def _mmbench(held: Sequence[Any]) -> Scores:
    import pandas as pd
    from lmms_eval.tasks.mmbench.mmbench_evals import MMBench_Evaluator

    judge = MMBench_Evaluator()
    turns = 1_000_000  # a question's askings have indices this far apart
    asked: dict[int, list[Any]] = defaultdict(list)
    for one in held:
        asked[int(one["index"]) % turns].append(one)
    hits = {}
    for index, askings in asked.items():
        truths = {one["index"]: one["answer"] for one in askings}
        frame = pd.DataFrame(askings).sort_values("index")
        hits[index] = float(judge.eval_sub_data(frame, truths, static_only=True))
    return [(hits[int(one["index"]) % turns], float(int(one["index"]) < turns)) for one in held]


def _seed(held: Sequence[Any]) -> Scores:
    return [
        (float(one["pred"].lower().strip() == one["answer"].lower().strip()), 1.0) for one in held
    ]


def _mmmu(held: Sequence[Any]) -> Scores:
    from lmms_eval.tasks.mmmu.utils import evaluate_mmmu

    return [(evaluate_mmmu([one])[1]["acc"], 1.0) for one in held]


def _mathvista(held: Sequence[Any]) -> Scores:
    return [(float(one["true_false"]), 1.0) for one in held]


METRIC_READERS: Mapping[str, MetricReader] = MappingProxyType(
    {
        "mme_perception_score": MetricReader(_mme, _mme_share),
        "gpt_eval_score": MetricReader(_mmbench),
        "seed_image": MetricReader(_seed),
        "pope_f1_score": MetricReader(_pope),
        "mmmu_acc": MetricReader(_mmmu, rounding=1e-5),
        "llm_as_judge_eval": MetricReader(_mathvista, rounding=1e-4),
        "ocrbench_accuracy": MetricReader(_given, lambda held: len(held) / 1000),
    }
)
"""By metric; the score of all others is given."""
