"""Commands about this installation: what can be named, whether it works, its own weights."""

from typing import Annotated

import typer

from ablate.catalog.launchers import DEFAULT
from ablate.commands import completion
from ablate.commands.options import (
    Catalog,
    Json,
    Overrides,
    Where,
)


def list_(
    what: Annotated[Catalog, typer.Argument(help="What to list.")],
    match: Annotated[
        str, typer.Option(metavar="WORD", help="Only what has this word in it; all of timm, too.")
    ] = "",
    json: Json = False,
) -> None:
    """List what can be named in a study, or the studies themselves.

    \b
    Examples:
      ablate list encoders
      ablate list encoders --match dinov3
      ablate list studies --json
    """
    from ablate.commands import list as catalog

    catalog.show(what.value, json, match)


def doctor(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY",
            help="Probe for what its jobs ask for.",
            autocompletion=completion.studies,
        ),
    ] = None,
    backend: Where = DEFAULT,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Check this machine: versions, devices, clusters, disk, offline state, weights.

    Each finding that needs one comes with a remedy; the exit code is 1 if something must be mended.
    With a --backend that has a queue a small job asks for what a step would (the default profile of
    clusters.yaml): does it start, does it see the same folder, Python, packages, code and GPUs?
    With a STUDY there is a job for each thing that its steps, or its driver, would ask for.

    \b
    Examples:
      ablate doctor
      ablate doctor --backend slurm
      ablate doctor my/study.yaml --backend slurm --set infra.cluster=site
    """
    from ablate.commands import doctor as examination

    raise typer.Exit(examination.show(json, backend, study, overrides or []))


def bake(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Which weights; default: all of them.",
            autocompletion=completion.weights,
        ),
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Put them in place of the shipped ones.")
    ] = False,
    json: Json = False,
) -> None:
    """Make the shipped micro weights again, from nothing, and print where they lie.

    \b
    Examples:
      ablate bake clip-micro
      ablate bake --install
    """
    from ablate.commands import bake as baking

    baking.run(names or [], install, json)


def schema(
    command: Annotated[
        str | None,
        typer.Argument(
            metavar="COMMAND",
            help="Whose --json; default: of all.",
            autocompletion=completion.schemas,
        ),
    ] = None,
) -> None:
    """Print the JSON schema of what a command prints with --json; of `run`, of a line.

    Fields that are in it stay. Further ones may come.

    \b
    Examples:
      ablate schema status
      ablate schema run
    """
    from ablate.commands import schemas

    schemas.show(command)
