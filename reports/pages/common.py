"""Small pieces that several pages share."""

from collections.abc import Mapping, Sequence
from typing import Any

from reports.model import CandidateResult, StudyResult

Rows = list[list[str]]
ABSENT = "-"


def page_name(study: StudyResult, one: CandidateResult) -> str:
    """The candidate's file among `candidates/`: its place in the study, stable and harmless."""
    return f"{study.candidates.index(one) + 1:03d}.html"


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted path; lists stay whole."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    return {
        path: leaf
        for key, child in value.items()
        for path, leaf in flatten(child, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def tile(label: str, value: str, note: str = "") -> dict[str, str]:
    return {"label": label, "value": value, "note": note}


def environment(record: Mapping[str, Any]) -> Rows:
    kept = ("git_commit", "host", "threads", "peak_memory_mb")
    rows = [[name, text_of(record[name])] for name in kept if record.get(name) is not None]
    return rows + [
        [name, text_of(value)] for name, value in sorted((record.get("versions") or {}).items())
    ]


def text_of(value: Any) -> str:
    """A setting's value in short: `none`, `a, b`, or as it is."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(text_of, value))
    return "none" if value is None else "{}" if value == {} else str(value)
