"""The words and types of the command line's options, where commands share or list them."""

from enum import StrEnum
from typing import Annotated

import typer

from ablate.catalog import launchers
from ablate.commands import completion

DEFAULT_STUDY = "micro/rounds"


class Catalog(StrEnum):
    """What `ablate list` can list."""

    adapters = "adapters"
    annotators = "annotators"
    connectors = "connectors"
    encoders = "encoders"
    fusions = "fusions"
    injections = "injections"
    kinds = "kinds"
    launchers = "launchers"
    llms = "llms"
    metrics = "metrics"
    objectives = "objectives"
    pages = "pages"
    proxies = "proxies"
    strategies = "strategies"
    studies = "studies"
    suites = "suites"
    tilings = "tilings"
    trackers = "trackers"


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
    parquet = "parquet"


class QueryFormat(StrEnum):
    """How `ablate query` prints."""

    csv = "csv"
    json = "json"
    parquet = "parquet"


class Layout(StrEnum):
    """How `ablate export` writes a model."""

    ablate = "ablate"
    llava = "llava"
    internvl = "internvl"
    idefics3 = "idefics3"


class Way(StrEnum):
    """What takes the place of a masked expert's features."""

    zeros = "zeros"
    mean = "mean"


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
    str,
    typer.Option(
        parser=launchers.checked,
        metavar=f"[{'|'.join(launchers.names())}]",
        help="Where steps run; `ablate list launchers` tells of each.",
        autocompletion=completion.backends,
    ),
]
StepWhere = Annotated[
    str | None,
    typer.Option(
        "--backend",
        parser=launchers.checked,
        metavar=f"[{'|'.join(launchers.names())}]",
        help="Where the step runs that it takes; default: in this process.",
        autocompletion=completion.backends,
        show_default=False,
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1, help="Steps at once, on a cluster jobs submitted at once; default: what is there."
    ),
]
Detach = Annotated[
    bool,
    typer.Option("--detach", help="Drive the study from a small job of its own on the cluster."),
]
Noise = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        metavar="POINTS",
        help="Of a simulation: standard deviation of a run; default: that of the runs there are.",
    ),
]
Indifference = Annotated[
    float,
    typer.Option(
        min=0.0, metavar="POINTS", help="Of a simulation: so much worse is as good as the best."
    ),
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
Trained = Annotated[
    str,
    typer.Argument(
        metavar="STUDY[:CANDIDATE]",
        help="A candidate by its name, `base` or `best`; without one it is the best.",
        autocompletion=completion.compared,
    ),
]
