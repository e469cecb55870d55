"""The command line: its commands and their help. What each does is imported when it runs."""

from typing import Annotated

import typer

from ablate.cli import machine, models, results, studies

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


for command in (
    *(studies.run, studies.retry, studies.plan, studies.fetch, studies.status, studies.logs),
    *(studies.cancel, studies.clean, machine.list_, results.table, results.query, results.replay),
    *(results.proxy, results.compare, results.noise, models.export, models.mask, models.explain),
    *(models.chat, models.demo, results.report),
    *(machine.doctor, machine.bake, machine.schema),
):
    app.command(command.__name__.rstrip("_"))(command)
