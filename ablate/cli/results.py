"""Commands that tell what came of a study, or would come of another search."""

from pathlib import Path
from typing import Annotated

import typer

from ablate.commands import completion
from ablate.commands.options import (
    DEFAULT_STUDY,
    Against,
    Format,
    Indifference,
    Json,
    Noise,
    Overrides,
    QueryFormat,
    Round,
    StudyName,
)
from ablate.errors import UserError


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
    from ablate import api
    from ablate.commands.report import show_table
    from ablate.garbage import without_gc

    if significance and (against or fragility):
        other = "--against" if against else "--fragility"
        raise UserError(f"{other} and --significance are two tables: ask for one of them")
    kind: api.TableKind = "paper" if against else "significance" if significance else "results"
    if fragility:
        kind = "fragility of the paper" if against else "fragility"
    with without_gc():
        made = api.table(api.load_study(study, overrides or []), kind)
        show_table(made, "json" if json else format and format.value)


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="Such as a SELECT, in quotes.")],
    format: Annotated[
        QueryFormat | None,
        typer.Option(help="How to print it; default: columns.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Ask all that a home's store holds, over all studies, in SQL (DuckDB).

    \b
    Tables, joined by `key`:
      candidates  key, encoders, fusion, llm, seed, suite, score, questions, studies
      cells       key, task, metric, score, questions, unread
      answers     key, task, id, image, question, truth, answer, score, weight
      steps       key, kind, stage, slug, status, seconds, device, devices, device_seconds, ...

    \b
    Examples:
      ablate query "select encoders, score from candidates order by score desc"
      ablate query "select kind, sum(device_seconds) from steps group by kind" --json
      ablate query "select * from answers" --format parquet > answers.parquet
    """
    from ablate.commands import query as querying

    querying.show(sql, "json" if json else format and format.value)


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
    repeat: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Draw results anew N times and compare all strategies that fit.",
        ),
    ] = None,
    noise: Noise = None,
    indifference: Indifference = 1.0,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Search over results that are known already: what would it have found, at what cost?

    It trains nothing: the search itself runs, in seconds, on scores of a table. A CSV file has the
    columns candidate, benchmark, score and, where known, cost (GPU-hours) and seed. With --repeat
    the scores are the truth, and what a search sees is drawn from it: training noise, and what a
    part of the training does not tell yet.

    \b
    Examples:
      ablate replay eagle/rounds                         over the paper's own table
      ablate replay micro/rounds --over store            over what was trained here
      ablate replay my/study.yaml --over scores.csv --json
      ablate replay eagle/rounds --repeat 2000 --noise 0.5
    """
    if repeat:
        if round is not None:
            raise UserError("--round is of one search, --repeat of many: leave out one of them")
        from ablate.commands import simulation

        simulation.show(study, overrides or [], strategy, over, repeat, noise, indifference, json)
        return
    if noise is not None:
        raise UserError("--noise is of results that are drawn: give --repeat N, too")
    from ablate.commands import replay as replaying

    replaying.show(study, overrides or [], strategy, over, round, json)


def proxy(
    study: StudyName = DEFAULT_STUDY,
    small: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY", help="A study of the same mixtures with a smaller language model."
        ),
    ] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """What could have been known without training, and how often it would have been right.

    Numbers from features of the frozen encoders and the language model (made once, kept in the
    store), and what the first 5 % of training say; each with its hit rate on the study's scores.

    \b
    Examples:
      ablate proxy
      ablate proxy eagle/rounds --small eagle/proxy/rounds
    """
    from ablate.commands import proxy as proxying

    proxying.show(study, overrides or [], small, json)


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


def noise(
    study: StudyName = DEFAULT_STUDY,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep what this store has measured as a file to ship."),
    ] = None,
    about: Annotated[
        str, typer.Option(metavar="TEXT", help="Of --write: where and how it was measured.")
    ] = "",
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Tell training noise: how far another seed moves the scores of a study's recipe.

    From all runs in the store that differ in their seed alone, and from what is shipped. A file
    that --write makes is shipped where it lies in ablate/catalog/noise.

    \b
    Examples:
      ablate noise micro/rounds
      ablate noise my/study.yaml --json
      ablate noise micro/rounds --write floor.json --about "4 seeds of 6 candidates, on CPU"
    """
    from ablate.commands import noise as telling

    telling.show(study, overrides or [], write, about, json)


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
    from ablate import api
    from ablate.commands import report as reporting
    from ablate.worker.freed_memory import give_large_pieces_back

    if live and (single or json):
        raise typer.BadParameter("--live makes no file: leave out --single-file and --json")
    if live:
        reporting.live(study, overrides or [], port, open)
    else:
        give_large_pieces_back()
        loaded = api.load_study(study, overrides or [])
        path = api.report(loaded, single_file=single)
        reporting.show_report(loaded, path, open, json)
