"""Commands that work on a study: run it, watch it, end it."""

from typing import Annotated

import typer

from ablate.catalog.launchers import DEFAULT
from ablate.commands import completion
from ablate.commands.options import (
    DEFAULT_STUDY,
    Detach,
    GpuKind,
    Indifference,
    Jobs,
    Json,
    Noise,
    Overrides,
    Round,
    StudyName,
    Where,
)


def run(
    study: StudyName = DEFAULT_STUDY,
    round: Round = None,
    backend: Where = DEFAULT,
    jobs: Jobs = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Print the plan and do nothing.")
    ] = False,
    detach: Detach = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON, a line an event; with -n the plan.")
    ] = False,
) -> None:
    """Run a study to its end, doing only what the store lacks.

    Killed at any moment, the same command goes on where it stopped. At the end it prints the table
    of every round, the path of the report, and what failed; that stays as it is until `ablate
    retry`, and the exit code is 1 for as long as something has failed. What jobs ask of a cluster
    is in the study or in ~/.config/ablate/clusters.yaml.

    \b
    Examples:
      ablate run                                   the small greedy search, on this machine
      ablate run --round 2                         its first two rounds only
      ablate run micro/fusion --jobs 2             another study, two steps at once
      ablate run --set base.recipe.finetune.steps=200
      ablate run my/study.yaml --backend slurm --detach
    """
    from ablate.commands import run as running
    from ablate.driver.invocation import Invocation

    command = Invocation(study, overrides or [], round, jobs, backend, detach)
    raise typer.Exit(running.run(command, dry_run, json))


def retry(
    study: StudyName = DEFAULT_STUDY,
    round: Round = None,
    backend: Where = DEFAULT,
    jobs: Jobs = None,
    overrides: Overrides = None,
    detach: Detach = False,
) -> None:
    """Run again what failed of a study, and all that waits for it.

    It ends as `ablate run` does: the exit code is 1 if something failed anew.

    \b
    Example:
      ablate retry my/study.yaml --backend slurm
    """
    from ablate.commands import run as running
    from ablate.driver.invocation import Invocation

    command = Invocation(study, overrides or [], round, jobs, backend, detach)
    raise typer.Exit(running.retry(command))


def plan(
    study: StudyName = DEFAULT_STUDY,
    round: Round = None,
    gpu: Annotated[
        GpuKind | None, typer.Option(help="Tell the cost on such GPUs; default: a100.")
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, metavar="N", help="Money for a GPU-hour, to sum it up.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(help="Forecast what this strategy costs and finds, by simulation."),
    ] = None,
    repeat: Annotated[
        int, typer.Option(min=1, metavar="N", help="With --strategy: repetitions.")
    ] = 500,
    noise: Noise = None,
    indifference: Indifference = 1.0,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Show every candidate and step of a study: what is cached, what is shared by whom, the cost.

    Candidates of rounds that cannot be decided yet are shown as if the first of the round won. The
    cost is an estimate (`ablate/cost/estimate.py` says of what), shown for studies on GPUs and
    with --json.

    \b
    Examples:
      ablate plan
      ablate plan micro/fusion --json
      ablate plan eagle/rounds --round 5 --gpu h100 --price 2.5
      ablate plan eagle/rounds --strategy racing --noise 0.5
    """
    if strategy:
        from ablate.commands import forecast

        kind = gpu and gpu.value
        forecast.show(study, overrides or [], strategy, repeat, noise, indifference, kind, json)
        return
    from ablate import api
    from ablate.commands.plan import show
    from ablate.garbage import without_gc

    with without_gc():
        loaded = api.load_study(study, overrides or [])
        show(api.plan(loaded, rounds=round, gpu=gpu and gpu.value, price=price), json)


def fetch(
    study: StudyName = DEFAULT_STUDY,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only list what is here and what is missing.")
    ] = False,
    json: Json = False,
) -> None:
    """Download what a study needs: weights, language models, training data, benchmark sets.

    Weights go to $ABLATE_WEIGHTS and data to $ABLATE_DATA, which are weights/ and datasets/ in
    $ABLATE_HOME unless set; these folders can be carried to a machine without a network. Killed
    at any moment, the same command goes on at the file it was at. What takes a hand is listed with
    where it is from and where it belongs. The exit code is 1 for as long as something is missing.

    \b
    Examples:
      ablate fetch my/study.yaml
      ablate fetch my/study.yaml --dry-run     also without a network
      ABLATE_HOME=/disk ablate fetch my/study.yaml
    """
    from ablate.commands import fetch as fetching

    raise typer.Exit(fetching.run(study, overrides or [], dry_run, json))


def status(
    study: StudyName = DEFAULT_STUDY,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing it until the study is complete.")
    ] = False,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Show how far a study is: candidates, steps at work, failures, drivers, and what to do.

    It reads the store alone, so it works on any machine that shares it. With --watch it draws a
    live picture on a terminal; elsewhere it prints once more whenever something has moved.

    \b
    Examples:
      ablate status micro/rounds
      ablate status -w
      ablate status -w --json >> moves.jsonl     a line for each move
    """
    from ablate.commands import status

    if watch:
        status.watch(study, overrides or [], json)
    else:
        status.show(study, overrides or [], json)


def logs(
    step: Annotated[
        str,
        typer.Argument(
            help="A step: its kind and name, or the start of its key.",
            autocompletion=completion.steps,
        ),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on printing as the step writes.")
    ] = False,
    attempt: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="The attempt of this number; default: the last."),
    ] = None,
    json: Json = False,
) -> None:
    """Print what a step printed, its last attempt.

    With --follow it goes on through further attempts, on whatever machine they run, until the step
    is done, or has failed: the exit code is then 1. Of a step that never began it prints what its
    job printed.

    \b
    Examples:
      ablate logs 3f9a12                 by the start of the key (see `ablate plan`)
      ablate logs prealign/sam-micro -f  by stage and the start of the name
      ablate logs 3f9a12 --attempt 1
    """
    from ablate.commands import logs as logbook

    raise typer.Exit(logbook.show(step, follow, json, attempt))


def cancel(study: StudyName = DEFAULT_STUDY, overrides: Overrides = None) -> None:
    """End what works on a study: its drivers, their workers, their jobs; nothing else.

    What is finished stays, and a step that was under way goes on from its checkpoint next time. The
    exit code is 1 if something is left, such as a driver on a machine that does not answer.

    \b
    Example:
      ablate cancel micro/rounds
    """
    from ablate.commands.cancel import cancel as end

    raise typer.Exit(end(study, overrides or []))


def clean(
    study: StudyName = DEFAULT_STUDY,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Only list what would go.")
    ] = False,
) -> None:
    """Remove what candidates left that were tried in part and given up, and print how large it was.

    That is the state from which a larger share would go on (`prefixes/`), of rounds that are
    decided. What a candidate may still need stays: of a round that is open, of one that failed or
    has not ended. Results stay, too.

    \b
    Examples:
      ablate clean my/study.yaml --dry-run
      ablate clean my/study.yaml
    """
    from ablate.commands import clean as cleaning

    cleaning.run(study, overrides or [], dry_run)
