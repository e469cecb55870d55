"""`ablate compare`: two candidates side by side."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ablate.commands import report as reporting
from ablate.commands.options import DEFAULT_STUDY
from ablate.commands.output import columns, emit_json, folded, on_terminal
from ablate.config.study import load_study, study_names
from ablate.errors import UserError
from ablate.printable import one_line

if TYPE_CHECKING:
    from ablate.reports.comparison import Comparison


def ordered(words: Sequence[str]) -> tuple[str, str, str]:
    """Two candidates and the study's name, from `A B`, `STUDY A B` or `A B STUDY`."""
    if len(words) not in (2, 3):
        raise UserError(
            f"compare takes two candidates, and a study before them if it is not {DEFAULT_STUDY}: "
            "`ablate compare STUDY base best`"
        )
    if len(words) == 2:
        if is_study(words[0]) and not is_study(words[1]):
            raise UserError(f"{words[0]} is a study: give two of its candidates, as `base best`")
        return words[0], words[1], DEFAULT_STUDY
    first, second, third = words
    return (first, second, third) if is_study(third) else (second, third, first)


def is_study(word: str) -> bool:
    """Whether it is the name of a study, or the path of a file."""
    return word in study_names() or word.endswith((".yaml", ".yml"))


def show(a: str, b: str, name: str, overrides: Sequence[str], most: int, as_json: bool) -> None:
    """Print candidates of a study (or `study:candidate`), and `most` answers that flip each way."""
    from ablate.reports.comparison import Comparison, candidate
    from ablate.reports.load import load
    from ablate.reports.model import StudyResult

    studies: dict[str, StudyResult] = {}

    def study_and_candidate(word: str) -> tuple[StudyResult, Any]:
        before, colon, rest = word.rpartition(":")
        of, wanted = (before, rest) if colon else (name, word)
        if of not in studies:
            studies[of] = load(load_study(of, overrides if of == name else ()))
        return studies[of], candidate(studies[of], wanted)

    comparison = Comparison(*study_and_candidate(a), *study_and_candidate(b))
    if as_json:
        emit_json(as_data(comparison, most))
    else:
        print(as_text(comparison, most))  # printable, but for what makes a heading bold


def as_data(comparison: "Comparison", most: int) -> dict[str, Any]:
    """The comparison as JSON values, numbers exact."""
    from dataclasses import asdict

    from ablate.reports.frame import records
    from ablate.reports.significance import covered

    benchmarks = records(comparison.benchmarks())
    return {
        "a": {"study": comparison.of_a.name, "candidate": comparison.a.name},
        "b": {"study": comparison.of_b.name, "candidate": comparison.b.name},
        "settings": records(comparison.settings()),
        "benchmarks": benchmarks[:-1],
        "mean": benchmarks[-1],
        "notes": comparison.notes,
        "covers": " ".join(covered(comparison.board)),
        "noise": comparison.board.noise.to_json() if comparison.board.noise else None,
        "fairness": [asdict(finding) for finding in comparison.findings],
        "flips": [
            {"flip": word, **row} for word, rows in _flips(comparison, most).items() for row in rows
        ],
    }


def as_text(comparison: "Comparison", most: int) -> str:
    """The comparison as paragraphs and tables for a terminal."""
    flips = comparison.flips
    form = None if on_terminal(sys.stdout) else "md"
    parts = [
        f"A: {one_line(comparison.a.name)} ({comparison.of_a.name})\n"
        f"B: {one_line(comparison.b.name)} ({comparison.of_b.name})",
        reporting.shown(comparison.settings(), form, "Settings that differ").rstrip(),
        reporting.shown(comparison.benchmarks(), form, "Scores, difference B minus A").rstrip(),
        folded(
            f"Of {flips.asked:,} questions B fixes {len(flips.fixed):,} and breaks "
            f"{len(flips.broken):,}. p is corrected over the benchmarks (Holm); McNemar's is "
            "not, and is of these runs: training noise is not in it."
        ),
        *(folded(one_line(remark)) for remark in comparison.notes),
    ]
    for word, rows in _flips(comparison, most).items():
        parts += [_answer(word, row) for row in rows]
    findings = [(finding.severity, one_line(finding.text)) for finding in comparison.findings]
    fairness = columns(("FAIRNESS", "FINDING"), findings) if findings else "Fairness: no finding."
    return "\n\n".join([*parts, fairness])


def _flips(comparison: "Comparison", most: int) -> dict[str, list[dict[str, Any]]]:
    """Up to `most` flipped answers, of those fixed and of those broken."""
    from ablate.reports.flips import rows

    both = {"fixed": comparison.flips.fixed, "broken": comparison.flips.broken}
    return {
        word: rows(comparison.board, comparison.a, comparison.b, keys[:most])
        for word, keys in both.items()
    }


def _answer(word: str, row: dict[str, Any]) -> str:
    lines = [("question", row["question"]), ("truth", row["truth"])]
    lines += [("A", row["before"]), ("B", row["after"])]
    text_of_lines = "\n".join(f"  {name}: {one_line(text)}" for name, text in lines)
    return one_line(f"{word}: {row['task']} {row['id']}, {row['image']}") + f"\n{text_of_lines}"
