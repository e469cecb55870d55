"""`ablate compare`: two candidates side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ablate.commands.output import columns, emit_json
from ablate.config.study import load_study

if TYPE_CHECKING:
    from ablate.reports.comparison import Comparison


def show(a: str, b: str, name: str, overrides: Sequence[str], most: int, as_json: bool) -> None:
    """Print candidates of a study (or `study:candidate`), and `most` answers that flip each way."""
    from ablate.reports.comparison import Comparison, candidate
    from ablate.reports.load import load
    from ablate.reports.model import StudyResult

    studies: dict[str, StudyResult] = {}

    def found(word: str) -> tuple[StudyResult, Any]:
        own, colon, rest = word.rpartition(":")
        of, wanted = (own, rest) if colon else (name, word)
        if of not in studies:
            studies[of] = load(load_study(of, overrides if of == name else ()))
        return studies[of], candidate(studies[of], wanted)

    comparison = Comparison(*found(a), *found(b))
    if as_json:
        emit_json(as_data(comparison, most))
    else:
        print(as_text(comparison, most))


def as_data(found: "Comparison", most: int) -> dict[str, Any]:
    """The comparison as JSON values, numbers exact."""
    from dataclasses import asdict

    from ablate.reports.frame import records

    benchmarks = records(found.benchmarks())
    return {
        "a": {"study": found.of_a.name, "candidate": found.a.name},
        "b": {"study": found.of_b.name, "candidate": found.b.name},
        "settings": records(found.settings()),
        "benchmarks": benchmarks[:-1],
        "mean": benchmarks[-1],
        "notes": found.notes,
        "fairness": [asdict(one) for one in found.findings],
        "flips": [
            {"flip": word, **row} for word, rows in _flips(found, most).items() for row in rows
        ],
    }


def as_text(found: "Comparison", most: int) -> str:
    """The comparison as paragraphs and tables for a terminal."""
    from ablate.reports import formats

    flips = found.flips
    parts = [
        f"A: {found.a.name} ({found.of_a.name})\nB: {found.b.name} ({found.of_b.name})",
        formats.render(found.settings(), "md", "Settings that differ").rstrip(),
        formats.render(found.benchmarks(), "md", "Scores, difference B minus A").rstrip(),
        f"Of {flips.asked:,} questions B fixes {len(flips.fixed):,} and breaks "
        f"{len(flips.broken):,}. p is corrected over the benchmarks (Holm); McNemar's is "
        "not, and is of these runs.",
        *found.notes,
    ]
    for word, rows in _flips(found, most).items():
        parts += [_answer(word, row) for row in rows]
    findings = [(one.severity, one.text) for one in found.findings]
    told = columns(("FAIRNESS", "FINDING"), findings) if findings else "Fairness: no finding."
    return "\n\n".join([*parts, told])


def _flips(found: "Comparison", most: int) -> dict[str, list[dict[str, Any]]]:
    """Up to `most` flipped answers, of those fixed and of those broken."""
    from ablate.reports.flips import rows

    both = {"fixed": found.flips.fixed, "broken": found.flips.broken}
    return {word: rows(found.board, found.a, found.b, keys[:most]) for word, keys in both.items()}


def _answer(word: str, row: dict[str, Any]) -> str:
    lines = [("question", row["question"]), ("truth", row["truth"])]
    lines += [("A", row["before"]), ("B", row["after"])]
    told = "\n".join(f"  {name}: {' '.join(str(text).split())}" for name, text in lines)
    return f"{word}: {row['task']} {row['id']}, {row['image']}\n{told}"
