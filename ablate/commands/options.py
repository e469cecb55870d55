"""The words and types of the command line's options, where commands share or list them."""

from enum import StrEnum
from typing import Annotated

import typer

from ablate.commands import completion

DEFAULT_STUDY = "micro/rounds"


class Backend(StrEnum):
    """Where steps run."""

    inline = "inline"
    local = "local"
    slurm = "slurm"


class Catalog(StrEnum):
    """What `ablate list` can list."""

    encoders = "encoders"
    fusions = "fusions"
    kinds = "kinds"
    llms = "llms"
    metrics = "metrics"
    pages = "pages"
    studies = "studies"
    suites = "suites"


class Against(StrEnum):
    """What `ablate table` can hold a study against."""

    paper = "paper"


class GpuKind(StrEnum):
    """The GPUs whose cost `ablate plan` can tell."""

    a100 = "a100"
    h100 = "h100"
    h200 = "h200"


class Format(StrEnum):
    """How `ablate table` prints."""

    md = "md"
    csv = "csv"
    latex = "latex"
    json = "json"
    html = "html"


StudyName = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="A study's name or YAML file.",
        autocompletion=completion.studies,
    ),
]
Round = Annotated[
    int | None,
    typer.Option("--round", min=1, help="Rounds 1 to N; default: as many as the study says."),
]
Where = Annotated[
    Backend,
    typer.Option(help="inline: in this process; local: in child processes; slurm: as jobs."),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1, help="Steps at once, on Slurm jobs submitted at once; default: what is there."
    ),
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Drive the study from a small Slurm job of its own.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="A.B=C",
        help="Change one field of the study; may be repeated.",
        autocompletion=completion.changes,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
