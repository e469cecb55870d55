"""MMBench: a question asked in several orders of its options is right if all askings are.

The first asking scores 1 then, and the others weigh nothing.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ablate.evaluate.metrics import MetricReader, Scores

APART = 1_000_000
"""A question's askings have indices this far apart."""


def scores(held: Sequence[Any]) -> Scores:
    """Of each asking, by lmms-eval's own evaluator without a judge."""
    import pandas as pd
    from lmms_eval.tasks.mmbench.mmbench_evals import MMBench_Evaluator

    judge = MMBench_Evaluator()
    asked: dict[int, list[Any]] = defaultdict(list)
    for result in held:
        asked[int(result["index"]) % APART].append(result)
    hits = {}
    for index, askings in asked.items():
        truths = {result["index"]: result["answer"] for result in askings}
        frame = pd.DataFrame(askings).sort_values("index")
        hits[index] = float(judge.eval_sub_data(frame, truths, static_only=True))
    return [
        (hits[int(result["index"]) % APART], float(int(result["index"]) < APART)) for result in held
    ]


READER = MetricReader(scores)
