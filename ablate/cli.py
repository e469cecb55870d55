"""The command line: its commands and their help. What each does is imported when it runs."""

import sys
from typing import Annotated

import typer

from ablate.errors import UserError
from ablate.options import (
    DEFAULT_STUDY,
    Against,
    Backend,
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

app = typer.Typer(
    name="ablate",
    help="Which vision encoders, fused how, trained how, at what cost: ablation studies for "
    "multimodal language models.",
    epilog="A STUDY is a name (see `ablate list studies`) or a path to a YAML file of your own; "
    "without one it is micro/rounds. Results go to ./runs, or to $ABLATE_HOME. "
    "With --debug, anywhere, a failure shows its traceback.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

STOPPED = 130  # what typer makes of a Ctrl-C


@app.command()
def run(
    study: StudyName = DEFAULT_STUDY,
    round: Round = None,
    backend: Where = Backend.local,
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
    retry`. What jobs ask of a cluster is in the study or in ~/.config/ablate/clusters.yaml.

    \b
    Examples:
      ablate run                                   the small greedy search, on this machine
      ablate run --round 2                         its first two rounds only
      ablate run micro/fusion --jobs 2             another study, two steps at once
      ablate run --set base.recipe.finetune.steps=200
      ablate run my/study.yaml --backend slurm --detach
    """
    from ablate.commands import running
    from ablate.detach import Command

    command = Command(study, overrides or [], round, jobs)
    running.run(command, backend.value, dry_run, detach)


@app.command()
def retry(
    study: StudyName = DEFAULT_STUDY,
    backend: Where = Backend.local,
    jobs: Jobs = None,
    overrides: Overrides = None,
    detach: Detach = False,
) -> None:
    """Run again what failed of a study, and all that waits for it.

    \b
    Example:
      ablate retry my/study.yaml --backend slurm
    """
    from ablate.commands import running
    from ablate.detach import Command

    running.retry(Command(study, overrides or [], None, jobs), backend.value, detach)


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
    cost is an estimate (`ablate/cost.py` says of what), shown for studies on GPUs, and with --json.

    \b
    Examples:
      ablate plan
      ablate plan micro/fusion --json
      ablate plan eagle/rounds --round 5 --gpu h100 --price 2.5
    """
    from ablate.commands import planning

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
    from ablate.commands import fetching

    raise typer.Exit(fetching.run(study, overrides or [], dry_run, json))


@app.command()
def status(
    study: StudyName = DEFAULT_STUDY, overrides: Overrides = None, json: Json = False
) -> None:
    """Show how far a study is: candidates, steps at work, failures and their reasons.

    \b
    Example:
      ablate status micro/rounds
    """
    from ablate.commands import state

    state.show(study, overrides or [], json)


@app.command()
def logs(
    step: Annotated[
        str, typer.Argument(help="A step: its kind and name, or the start of its key.")
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on printing as the step writes.")
    ] = False,
    json: Json = False,
) -> None:
    """Print what a step printed, its last attempt.

    \b
    Examples:
      ablate logs 3f9a12                 by the start of the key (see `ablate plan`)
      ablate logs prealign/sam-micro -f  by kind and the start of the name
    """
    from ablate.commands import logbook

    logbook.show(step, follow, json)


@app.command()
def cancel(study: StudyName = DEFAULT_STUDY, overrides: Overrides = None) -> None:
    """End what works on a study: its drivers, their workers, their Slurm jobs; nothing else.

    What is finished stays, and a step that was under way goes on from its checkpoint next time. The
    exit code is 1 if something is left, such as a driver on a machine that does not answer.

    \b
    Example:
      ablate cancel micro/rounds
    """
    from ablate.commands import state

    raise typer.Exit(state.cancel(study, overrides or []))


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
    from ablate.commands import catalog

    catalog.show(what.value, json)


@app.command()
def table(
    study: StudyName = DEFAULT_STUDY,
    format: Annotated[Format, typer.Option(help="How to print it.")] = Format.md,
    against: Annotated[
        Against | None,
        typer.Option(help="paper: beside the published table the study names, with differences."),
    ] = None,
    overrides: Overrides = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Print the table of a study's rounds or arms, with 95 % intervals.

    \b
    Examples:
      ablate table
      ablate table micro/fusion --format latex > fusion.tex
      ablate table my/study.yaml --against paper
    """
    from ablate.commands import reporting

    form = "json" if json else format.value
    reporting.table(study, overrides or [], form, against is Against.paper)


@app.command()
def report(
    study: StudyName = DEFAULT_STUDY,
    open: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Build the report of a study, also while it runs, and print its path.

    A folder of pages that open from disk, without a network.

    \b
    Example:
      ablate report micro/rounds --open
    """
    from ablate.commands import reporting

    reporting.report(study, overrides or [], open, json)


@app.command()
def doctor(json: Json = False) -> None:
    """Check this machine: versions, devices, Slurm, disk, offline state, weights.

    Each finding that needs one comes with a remedy; the exit code is 1 if something must be mended.

    \b
    Example:
      ablate doctor
    """
    from ablate import doctor as examination

    raise typer.Exit(examination.show(json))


@app.command()
def bake(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Which weights; default: all of them."),
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
    from ablate.commands import baking

    baking.run(names or [], install, json)


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    debug = "--debug" in sys.argv[1:]
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        code = app(arguments, standalone_mode=False)
    except (typer.TyperException, UserError) as error:
        if debug:
            raise
        said = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        fail(said, 2)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        said = f"{type(error).__name__}: {error}"
        fail(f"internal error: {said} (--debug shows where)", 1)
    if code == STOPPED:
        fail("stopped; what is finished stays, the same command goes on from there", STOPPED)
    sys.exit(code if isinstance(code, int) else 0)


def fail(said: str, code: int) -> None:
    """One line on stderr, then exit."""
    print(f"ablate: {' '.join(said.split())}", file=sys.stderr)
    sys.exit(code)
