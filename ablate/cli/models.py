"""Commands that use a model which a study has trained."""

from pathlib import Path
from typing import Annotated

import typer

from ablate.commands import completion
from ablate.commands.options import (
    Json,
    Layout,
    Overrides,
    StepWhere,
    Trained,
    Way,
)
from ablate.errors import UserError


def export(
    named: Trained,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is not there yet.")],
    layout: Annotated[
        Layout,
        typer.Option("--as", help="Other than ablate: as transformers itself has such models."),
    ] = Layout.ablate,
    overrides: Overrides = None,
) -> None:
    """Write a trained candidate into a folder in Hugging Face's layout, to hand on.

    AutoProcessor and AutoModelForImageTextToText load it, with trust_remote_code=True, where ablate
    is not installed: the code that it takes lies in the folder. Its README tells whose licences
    hold, what it was trained from and how it scored. With --as llava, internvl or idefics3 it takes
    no code, where the mixture is one: what is not says so in a line.

    \b
    Examples:
      ablate export micro/rounds exported/best
      ablate export micro/fusion:LLaVA-HR exported/llava-hr
    """
    from ablate.commands import export as exporting

    exporting.export(named, folder, layout, overrides or [])


def mask(
    named: Trained,
    way: Annotated[
        Way, typer.Option("--by", help="What stands in for the features of a masked expert.")
    ] = Way.zeros,
    backend: StepWhere = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """What each expert does in a trained mixture, without training anything.

    The mixture is scored again with some of its experts masked: the features of an image are made
    once for all masks. Told are conditional utilisation rate and information gap, which experts
    stand in for each other, and the best part of the mixture. It is a step, kept in the store; the
    report then has a page of it.

    \b
    Examples:
      ablate mask micro/rounds
      ablate mask micro/rounds:base --by mean --json
      ablate mask eagle/rounds --backend slurm
    """
    from ablate.commands import mask as masking

    masking.show(named, way.value, backend, overrides or [], json)


def explain(
    named: Trained,
    question: Annotated[
        str | None, typer.Argument(help="TASK/ID of the study's suite; with --image the words.")
    ] = None,
    image: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A picture of your own.")
    ] = None,
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="The picture to write: .png, .pdf or .svg.")
    ] = Path("explained.png"),
    against: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY[:CANDIDATE]", help="Another one's answer to the same, below it."
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option("--report", help="Explain some answers for the report, instead of one here."),
    ] = False,
    backend: StepWhere = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Show where each expert of a trained candidate finds what speaks for its answer.

    A picture of the image with each expert's contributions (gradient times activation of the
    answer's log-probability, at the maps that are fused), and each expert's share of them.
    With --report those of some answers, which it fixes and breaks against the base and which are
    wrong all the same, are made as steps, kept in the store; the report then shows them.

    \b
    Examples:
      ablate explain micro/rounds --report
      ablate explain micro/rounds abl_ocr/000007-0
      ablate explain micro/rounds abl_ocr/000007-0 --against micro/rounds:base
      ablate explain micro/rounds:base "what colour is the square" --image my.png
    """
    if report or question is None:
        from ablate.commands import explain_report

        if question is not None or not report or image or against:
            raise UserError("explain takes a question, or --report without one")
        explain_report.make_for_report(named, backend, overrides or [], json)
        return
    from ablate.commands import explain as explaining

    both = [named, *filter(None, [against])]
    explaining.show(both, question, image, output, overrides or [], json)


def chat(
    named: Trained,
    image: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="An image to begin with.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Talk to a trained candidate about images, on the terminal.

    Each line is a question. `/image FILE` shows another image, `/new` begins anew, and Ctrl-D ends
    it. What is piped in is answered line by line.

    \b
    Examples:
      ablate chat micro/rounds --image my.png
      echo "how many circles are there" | ablate chat micro/rounds:base --image my.png
    """
    from ablate.commands import chat as chatting

    chatting.chat(named, image, overrides or [])


def demo(
    named: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STUDY[:CANDIDATE] STUDY[:CANDIDATE]]",
            help="Two candidates; beside one stands the base of its study.",
            autocompletion=completion.compared,
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Default: a free one.")] = 0,
    open: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    overrides: Overrides = None,
) -> None:
    """Ask two trained candidates the same about a picture, side by side on a local page.

    Blind or not; each expert can be switched off, as `ablate mask` does by zeros. Pictures are your
    own or those of the evaluation set. What is voted stays in the home, with a tally on the page.
    Its address is printed, and only this machine can reach it; a Ctrl-C ends it.

    \b
    Examples:
      ablate demo                                    the winner of micro/rounds, and its base
      ablate demo micro/fusion:LLaVA-HR              beside the base of micro/fusion
      ablate demo micro/rounds:best micro/blind:CLIP --open
    """
    from ablate.commands import demo as demonstration

    demonstration.serve(named or [], overrides or [], port, open)
