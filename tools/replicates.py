"""What training again changes: the runs of a study that differ in their seed alone.

    python tools/replicates.py STUDY [--set 'seeds=[0,1,2,3]'] [--csv scores.csv]

Prints every candidate's score by seed; the standard deviation over seeds, of each benchmark and of
the composite; how often the score of another seed lies inside the interval of a single run, and how
often a candidate under two seeds differs from itself with p < 0.05. Intervals and p are what a
study of single runs shows, with the training noise of the *other* candidates. For mixtures it adds
what a greedy search among them finds. `--csv` writes the scores as `ablate replay --over` reads
them. The runs are those in `$ABLATE_HOME`; nothing is trained.
"""

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, permutations
from pathlib import Path

import numpy as np

from ablate.config.study import load_study
from ablate.reports.load import load
from ablate.reports.model import CandidateResult, StudyResult
from ablate.stats.bootstrap import Sample
from ablate.stats.draws import Draws
from ablate.stats.significance import ALPHA
from ablate.store.answers import Answers

COMPOSITE = "score"
Scores = Mapping[frozenset[str], float]
"""The composite of each mixture, a set of encoders."""


def drawn(study: StudyResult, candidate: CandidateResult) -> Draws:
    """A candidate's runs as if each were another candidate's only one.

    Training noise comes from all other candidates with several runs.
    """
    others = [other.runs for other in replicated(study) if other is not candidate]
    replicates = _sample(others) if others else None
    return _sample([[run] for run in candidate.runs]).draw(replicates=replicates)


def _scored(study: StudyResult) -> list[CandidateResult]:
    every = [candidate for candidate in study.candidates if candidate.runs]
    if not every:
        raise SystemExit(f"{study.name}: nothing is scored in {study.home}")
    return every


def replicated(study: StudyResult) -> list[CandidateResult]:
    """The candidates that have several runs."""
    return [candidate for candidate in study.candidates if len(candidate.runs) > 1]


def _sample(candidates: Sequence[Sequence[Answers]]) -> Sample:
    first = candidates[0][0]
    return Sample(
        first.images,
        [task for task, _ in first.questions],
        [([run.scores for run in runs], [run.weights for run in runs]) for runs in candidates],
    )


def count_inside(draws: Draws) -> tuple[int, int]:
    """In how many pairs of runs the second's score lies in the interval of the first; of how many.

    Both orders count.
    """
    runs = draws.scores()
    pairs = list(permutations(range(len(runs.estimate)), 2))
    return sum(bool(runs.low[a] <= runs.estimate[b] <= runs.high[a]) for a, b in pairs), len(pairs)


def count_different(draws: Draws) -> tuple[int, int]:
    """How many pairs of runs differ with p < 0.05, of how many."""
    pairs = list(combinations(range(len(draws.here)), 2))
    plus, minus = zip(*pairs, strict=True)
    return int((draws.differences(plus, minus).p < ALPHA).sum()), len(pairs)


def deviations(runs: Sequence[Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """Of several candidates' `runs`, scores by name: the standard deviation over seeds, pooled."""
    freedom = sum(len(scores) - 1 for scores in runs)
    squares = {
        name: sum(np.var([run[name] for run in scores]) * len(scores) for scores in runs)
        for name in runs[0][0]
    }
    return {name: float(np.sqrt(total / freedom)) for name, total in squares.items()}


def scores_of(study: StudyResult, run: Answers) -> dict[str, float]:
    """A run's score of each benchmark, by title, and their mean, in points."""
    tasks = np.array([task for task, _ in run.questions])
    scores, weights = np.array(run.scores), np.array(run.weights)
    by_task = {
        title: 100.0 * float(np.average(scores[tasks == task], weights=weights[tasks == task]))
        for task, title in study.tasks.items()
    }
    return {**by_task, COMPOSITE: float(np.mean(list(by_task.values())))}


def greedy(scores: Scores) -> frozenset[str]:
    """The best mixture on the way of a greedy search, which adds an encoder at a time to the first
    and goes on to the largest that there is."""
    way = [min(scores, key=len)]
    while larger := [
        mixture for mixture in scores if mixture > way[-1] and len(mixture) == len(way[-1]) + 1
    ]:
        way.append(max(larger, key=lambda mixture: scores[mixture]))
    return max(way, key=lambda mixture: scores[mixture])


def describe(study: StudyResult) -> Iterator[str]:
    """Line by line what the runs say."""
    every = _scored(study)
    width = max(len(candidate.name) for candidate in every)
    for candidate in every:
        seeds = " ".join(f"{score:5.1f}" for score in candidate.seed_scores)
        spread = f"   sd {candidate.spread:.1f}" if candidate.spread is not None else ""
        yield f"{candidate.name:<{width}} {seeds}{spread}"
    if several := replicated(study):
        runs = [[scores_of(study, run) for run in candidate.runs] for candidate in several]
        freedom = sum(len(scores) - 1 for scores in runs)
        spreads = ", ".join(f"{name} {value:.1f}" for name, value in deviations(runs).items())
        yield f"standard deviation over seeds ({freedom} degrees of freedom): {spreads}"
        every_draws = [drawn(study, candidate) for candidate in several]
        yield f"another seed's score inside the interval: {_total(map(count_inside, every_draws))}"
        yield f"the same candidate, p < {ALPHA}: {_total(map(count_different, every_draws))}"
    if len({frozenset(candidate.encoders) for candidate in every}) == len(every):
        yield from _describe_greedy(every)


def _total(counts: Iterator[tuple[int, int]]) -> str:
    hits, of = np.sum(list(counts), axis=0)
    return f"{hits} of {of} ({100 * hits / of:.0f} %)"


def _describe_greedy(every: Sequence[CandidateResult]) -> Iterator[str]:
    runs = min(len(candidate.runs) for candidate in every)
    columns = {
        f"run {n + 1}": {
            frozenset(candidate.encoders): candidate.seed_scores[n] for candidate in every
        }
        for n in range(runs)
    }
    if runs > 1:
        columns["mean"] = {
            frozenset(candidate.encoders): float(np.mean(candidate.seed_scores[:runs]))
            for candidate in every
        }
    for name, scores in columns.items():
        end, best = greedy(scores), max(scores, key=lambda mixture: scores[mixture])
        yield (
            f"{name}: greedy ends at {_words(end)} {scores[end]:.1f}; "
            f"the best of {len(scores)} is {_words(best)} {scores[best]:.1f}"
        )


def _words(mixture: frozenset[str]) -> str:
    return "+".join(sorted(mixture))


def write_csv(study: StudyResult, path: Path) -> None:
    """The scores as `ablate replay --over` reads them, below lines that say whence they are."""
    every = _scored(study)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# {study.name} on {study.suite}: {study.question}\n")
        for line in _origin(every):
            file.write(f"# {line}\n")
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["candidate", "benchmark", "score", "seed"])
        for candidate in every:
            for seed, run in zip(candidate.config["seeds"], candidate.runs, strict=True):
                for title, score in scores_of(study, run).items():
                    if title != COMPOSITE:
                        table.writerow(["+".join(candidate.encoders), title, f"{score:.4f}", seed])


def _origin(every: Sequence[CandidateResult]) -> Iterator[str]:
    """Commits, machines and versions of all steps, each once."""
    records = [step.record for candidate in every for step in candidate.steps]
    for field in ("git_commit", "machine", "threads", "versions"):
        values = {
            json.dumps(record[field], sort_keys=True) for record in records if record.get(field)
        }
        yield f"{field}: {' | '.join(sorted(values))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("study")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    study = load(load_study(given.study, given.overrides))
    print(*describe(study), sep="\n")
    if given.csv:
        write_csv(study, given.csv)


if __name__ == "__main__":
    main()
