"""`ablate list`: what can be named in a study, each in a row."""

from collections.abc import Callable, Mapping
from typing import Any

from ablate.commands.output import columns, emit_json

Row = dict[str, Any]


def encoders() -> list[Row]:
    """Every encoder at its default resolution."""
    from ablate.encoders import registry

    return [
        {
            "encoder": spec.title,
            "family": spec.family,
            "grid": "x".join(map(str, spec.grid)),
            "width": spec.width,
            "weights": spec.weights.kind,
            "licence": spec.licence,
            "task": spec.task,
        }
        for spec in registry.specs()
    ]


def fusions() -> list[Row]:
    """Every fusion, ours and other packages'."""
    import fusion_zoo

    return [
        {
            "fusion": name,
            "options": ", ".join(
                f"{key}={value}" for key, value in fusion_zoo.options(name).items()
            )
            or "-",
            "description": fusion_zoo.describe(name),
        }
        for name in fusion_zoo.names()
    ]


def _settings(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in options.items()) or "-"


def llms() -> list[Row]:
    """Every language model with a name; a study may also give a folder."""
    from ablate.model import llms

    return [
        {"llm": spec.name, "width": spec.width, "context": spec.context, "source": spec.kind}
        for spec in llms.specs()
    ]


def studies() -> list[Row]:
    """Every study that comes with the project."""
    from ablate.study import load_study, study_names

    rows = []
    for name in study_names():
        study = load_study(name)
        rows.append({"study": name, "rounds": study.rounds, "question": study.question})
    return rows


def suites() -> list[Row]:
    """Every suite and its tasks."""
    from ablate.evaluate import suites

    found = [suites.resolve(name) for name in suites.names()]
    return [
        {
            "suite": suite.name,
            "tasks": ", ".join(task.title or task.task for task in suite.tasks),
            "title": suite.title,
        }
        for suite in found
    ]


CATALOGS: dict[str, Callable[[], list[Row]]] = {
    "encoders": encoders,
    "fusions": fusions,
    "llms": llms,
    "studies": studies,
    "suites": suites,
}


def show(what: str, as_json: bool) -> None:
    """Print one of `CATALOGS`."""
    rows = CATALOGS[what]()
    if as_json:
        emit_json(rows)
    else:
        heads = list(rows[0]) if rows else [what]
        print(columns([head.upper() for head in heads], [list(row.values()) for row in rows]))
