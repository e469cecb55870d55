"""The command line: its commands and their help. What each does is imported when it runs."""

from typing import Annotated

import typer

from ablate.catalog.launchers import DEFAULT
from ablate.commands import completion
from ablate.commands.options import (
    DEFAULT_STUDY,
    Against,
    Catalog,
    Detach,
    Format,
    GpuKind,
    Jobs,
    Json,
    Overrides,
    Round,
    StudyName,
    Where,
)
from ablate.errors import UserError

app = typer.Typer(
    name="ablate",
    help="Which vision encoders, fused how, trained how, at what cost: ablation studies for "
    "multimodal language models.",
    epilog="A STUDY is a name (see `ablate list studies`) or a path to a YAML file of your own; "
    "without one it is micro/rounds. Results go to ./runs, or to $ABLATE_HOME. "
    "With --debug, anywhere, a failure shows its traceback.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(asked: bool) -> None:
    if asked:
        from ablate.config.distribution import installed_version

        print(f"ablate {installed_version() or 'not installed, run from its source'}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """What can be said before a command; see the help of `app`."""


@app.command()
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
    raise typer.Exit(running.run(command, dry_run))


@app.command()
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


@app.command()
def plan(
    study: StudyName = DEFAULT_STUDY,
    round: Round = None,
    gpu: Annotated[
        GpuKind | None, typer.Option(help="Tell the cost on such GPUs; default: a100.")
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, metavar="N", help="Money for a GPU-hour, to sum it up.")
    ] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Show every candidate and step of a study: what is cached, what is shared by whom, the cost.

    Candidates of rounds that cannot be decided yet are shown as if the first of the pool won. The
    cost is an estimate (`ablate/cost/estimate.py` says of what), shown for studies on GPUs and
    with --json.

    \b
    Examples:
      ablate plan
      ablate plan micro/fusion --json
      ablate plan eagle/rounds --round 5 --gpu h100 --price 2.5
    """
    from ablate.commands import plan as planning

    planning.show(study, overrides or [], round, gpu and gpu.value, price, json)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
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


@app.command("list")
def list_(
    what: Annotated[Catalog, typer.Argument(help="What to list.")], json: Json = False
) -> None:
    """List what can be named in a study, or the studies themselves.

    \b
    Examples:
      ablate list encoders
      ablate list studies --json
    """
    from ablate.commands import list as catalog

    catalog.show(what.value, json)


@app.command()
def table(
    study: StudyName = DEFAULT_STUDY,
    format: Annotated[
        Format | None,
        typer.Option(
            help="How to print it; default: fit to a terminal, else md.", show_default=False
        ),
    ] = None,
    against: Annotated[
        Against | None,
        typer.Option(help="paper: beside the published table the study names, with differences."),
    ] = None,
    significance: Annotated[
        bool,
        typer.Option("--significance", help="Which differences are more than chance, with p."),
    ] = False,
    fragility: Annotated[
        bool,
        typer.Option(
            "--fragility", help="What other benchmarks would choose; with --against, in the paper."
        ),
    ] = False,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Print the table of a study's rounds or arms, with 95 % intervals.

    On a terminal it fits: columns that find no room follow below, in the same order.

    \b
    Examples:
      ablate table
      ablate table micro/fusion --format latex > fusion.tex
      ablate table my/study.yaml --against paper
      ablate table --significance
      ablate table eagle/rounds --fragility --against paper     of the published path
    """
    from ablate.commands import report as reporting

    if significance and (against or fragility):
        other = "--against" if against else "--fragility"
        raise UserError(f"{other} and --significance are two tables: ask for one of them")
    form = "json" if json else format and format.value
    make = reporting.beside_paper if against else reporting.render
    if fragility:
        make = reporting.fragile_in_paper if against else reporting.fragile
    reporting.table(study, overrides or [], form, reporting.sure if significance else make)


@app.command()
def replay(
    study: StudyName = DEFAULT_STUDY,
    over: Annotated[
        str | None,
        typer.Option(
            metavar="paper|store|FILE",
            help="Whose results: the published table's, the store's, or those of a CSV file; "
            "default: paper for a study of published benchmarks, else store.",
        ),
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Search by another strategy than the study's.")
    ] = None,
    round: Round = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Search over results that are known already: what would it have found, at what cost?

    It trains nothing: the search itself runs, in seconds, on scores of a table. A CSV file has the
    columns candidate, benchmark, score and, where known, cost (GPU-hours) and seed.

    \b
    Examples:
      ablate replay eagle/rounds                         over the paper's own table
      ablate replay micro/rounds --over store            over what was trained here
      ablate replay my/study.yaml --over scores.csv --json
    """
    from ablate.commands import replay as replaying

    replaying.show(study, overrides or [], strategy, over, round, json)


@app.command()
def compare(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[STUDY] A B",
            help="Two candidates: names, `base`, `best`, or STUDY:CANDIDATE of another study.",
            autocompletion=completion.compared,
        ),
    ],
    flips: Annotated[
        int, typer.Option(min=0, metavar="N", help="Show N answers fixed and N broken.")
    ] = 0,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Hold two candidates against each other: settings, scores, flipped answers, fairness.

    Differences are B minus A, with 95 % intervals and p-values corrected over the benchmarks.

    \b
    Examples:
      ablate compare base best                         of micro/rounds
      ablate compare micro/fusion "channel concat" LLaVA-HR --flips 5
      ablate compare micro/rounds:best micro/blind:CLIP
    """
    from ablate.commands import compare as comparing

    a, b, study = comparing.ordered(words)
    comparing.show(a, b, study, overrides or [], flips, json)


@app.command()
def report(
    study: StudyName = DEFAULT_STUDY,
    single: Annotated[
        bool, typer.Option("--single-file", help="One HTML file instead of a folder.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Serve it on 127.0.0.1, anew as steps finish.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of --live; default: a free one.")
    ] = 0,
    open: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Build the report of a study, also while it runs, and print its path.

    A folder of pages that open from disk, without a network; or one file with the same in it, to
    send or to keep. With --live the address is printed, and a Ctrl-C ends it.

    \b
    Examples:
      ablate report micro/rounds --open
      ablate report micro/rounds --single-file
      ablate report micro/rounds --live        beside `ablate run micro/rounds`
    """
    from ablate.commands import report as reporting

    if live and (single or json):
        raise typer.BadParameter("--live makes no file: leave out --single-file and --json")
    if live:
        reporting.live(study, overrides or [], port, open)
    else:
        reporting.report(study, overrides or [], single, open, json)


@app.command()
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


@app.command()
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
