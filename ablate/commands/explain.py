"""`ablate explain`: where each expert of a trained candidate looks for one answer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ablate.commands.output import columns, emit_json, note, say
from ablate.commands.trained import trained_candidate
from ablate.errors import UserError, nearest
from ablate.printable import one_line

if TYPE_CHECKING:
    from ablate.reports.model import CandidateResult


class Question(NamedTuple):
    """What is asked about which image, and what would be right, where that is known."""

    words: str
    image: Path
    truth: str | None = None


def show(
    named: str,
    question: str,
    image: Path | None,
    picture: Path,
    overrides: Sequence[str],
    as_json: bool,
) -> None:
    """Write the picture of the experts' contributions, and print each one's share.

    `question`: `TASK/ID` of the study's suite; with an `image` its words. UserError for one that is
    not there, an image that is none, and a file that exists.
    """
    if picture.exists():
        raise UserError(f"{picture} exists; name another by --output")
    if picture.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"{picture}: a picture is .png, .pdf or .svg")
    found = trained_candidate(named, overrides)
    asked = Question(question, image) if image else _stored(found.candidate, question)
    assert found.trained.folder is not None
    import numpy as np

    from ablate.data.images import read_image
    from ablate.evaluate.answerer import Answerer
    from ablate.evaluate.attribution import attribute, shares
    from ablate.evaluate.dialogue import Dialogue
    from ablate.reports.contribution_maps import contribution_maps

    subject = Answerer.load(found.trained.folder)
    pixels = read_image(asked.image, subject.canvas, subject.padding)
    talk = Dialogue(subject)
    talk.show(pixels)
    said = talk.say(asked.words)
    maps = attribute(subject, asked.words, pixels, said)
    drawn = {title: np.asarray(one, dtype=np.float32) for title, one in maps.items()}
    heading = one_line(f"{asked.words}: {said}")
    contribution_maps(pixels.transpose(1, 2, 0), drawn, heading).savefig(picture, dpi=120)
    if as_json:
        emit_json(
            {
                "study": found.study.name,
                "candidate": found.candidate.name,
                "question": asked.words,
                "truth": asked.truth,
                "answer": said,
                "picture": str(picture.absolute()),
                "shares": shares(maps),
                "maps": {title: one.tolist() for title, one in maps.items()},
            }
        )
    else:
        say(_as_text(asked, said, shares(maps)))
        note("Red in the picture speaks for the answer, blue against it:")
        print(picture.absolute())


def _stored(candidate: "CandidateResult", name: str) -> Question:
    """A question that the candidate was scored on."""
    if candidate.images is None:
        raise UserError(
            "the images of this suite are no files of their own: give one by --image, and the "
            "question's words"
        )
    known = {f"{row['task']}/{row['id']}": row for row in candidate.runs[0].rows}
    if name not in known:
        raise UserError(f"no question '{name}'{nearest(name, known)}")
    row = known[name]
    return Question(row["question"], candidate.images / row["image"], str(row["truth"]))


def _as_text(asked: Question, said: str, parts: Mapping[str, float]) -> str:
    lines: list[tuple[str, Any]] = [("question", asked.words), ("answer", said)]
    if asked.truth is not None:
        lines.append(("truth", asked.truth))
    told = "\n".join(f"{name}: {one_line(text)}" for name, text in lines)
    rows = [(title, f"{part:.0f}") for title, part in parts.items()]
    return f"{told}\n\n{columns(('EXPERT', 'SHARE, %'), rows)}"
