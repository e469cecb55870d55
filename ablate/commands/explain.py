"""`ablate explain`: where each expert of a trained candidate looks for one answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ablate.commands.output import columns, emit_json, note, say
from ablate.commands.trained import Trained, trained_candidate
from ablate.errors import UserError, nearest
from ablate.files import atomic_file
from ablate.printable import one_line

if TYPE_CHECKING:
    from ablate.reports.contribution_maps import Explained


class Question(NamedTuple):
    """What is asked about which image, and what would be right, where that is known."""

    words: str
    image: Path
    truth: str | None = None


def show(
    named: Sequence[str],
    question: str,
    image: Path | None,
    picture: Path,
    overrides: Sequence[str],
    as_json: bool,
) -> None:
    """Write the picture of the experts' contributions, and print each one's share.

    `named`: candidates, a row of the picture each; `question`: `TASK/ID` of the first one's suite,
    or with an `image` its words. UserError for one that is not there, an image that is none, and a
    file that exists.
    """
    if picture.exists():
        raise UserError(f"{picture} exists; name another by --output")
    if picture.suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"{picture}: a picture is .png, .pdf or .svg")
    trained = [trained_candidate(candidate, overrides) for candidate in named]
    asked = Question(question, image) if image else _stored(trained[0], question)
    from ablate.reports.contribution_maps import contribution_maps

    answers = [_explained(each, asked) for each in trained]
    with atomic_file(picture) as draft:
        drawn = contribution_maps(one_line(asked.words), answers)
        drawn.savefig(draft, format=picture.suffix[1:], dpi=120)
    if as_json:
        emit_json(_as_data(trained, asked, answers, picture))
    else:
        say(_as_text(asked, answers))
        note("Red in the picture speaks for the answer, blue against it:")
        print(picture.absolute())


def _explained(trained: Trained, asked: Question) -> "Explained":
    import numpy as np

    from ablate.evaluate.answerer import Answerer
    from ablate.evaluate.attribution import attribute
    from ablate.evaluate.dialogue import Dialogue
    from ablate.reports.contribution_maps import Explained

    assert trained.trained.folder is not None
    subject = Answerer.load(trained.trained.folder)
    pixels = subject.picture(asked.image)
    behind, talk = subject.note(asked.image), Dialogue(subject)
    talk.show(pixels, behind)
    answer = talk.say(asked.words)
    maps = attribute(subject, asked.words, pixels, answer, behind)
    return Explained(
        trained.candidate.name,
        answer,
        pixels[:3].transpose(1, 2, 0),  # its colours, without maps
        {title: np.asarray(map_, dtype=np.float32) for title, map_ in maps.items()},
    )


def _stored(trained: Trained, name: str) -> Question:
    """A question that the candidate was scored on."""
    candidate = trained.candidate
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


def _shares(answer: "Explained") -> dict[str, float]:
    """By expert its part of all contributions, whatever their sign, in per cent."""
    sizes = {title: float(abs(map_).sum()) for title, map_ in answer.maps.items()}
    total = sum(sizes.values()) or 1.0
    return {title: 100.0 * size / total for title, size in sizes.items()}


def _as_data(
    several: Sequence[Trained], asked: Question, answers: Sequence["Explained"], picture: Path
) -> dict[str, Any]:
    return {
        "question": asked.words,
        "truth": asked.truth,
        "picture": str(picture.absolute()),
        "candidates": [
            {
                "study": trained.study.name,
                "candidate": answer.candidate,
                "answer": answer.answer,
                "shares": _shares(answer),
                "maps": {title: values.tolist() for title, values in answer.maps.items()},
            }
            for trained, answer in zip(several, answers, strict=True)
        ],
    }


def _as_text(asked: Question, answers: Sequence["Explained"]) -> str:
    lines = [f"question: {one_line(asked.words)}"]
    if asked.truth is not None:
        lines.append(f"truth: {one_line(asked.truth)}")
    parts = ["\n".join(lines)]
    for answer in answers:
        rows = [(title, f"{share:.0f}") for title, share in _shares(answer).items()]
        text = one_line(f"{answer.candidate}: {answer.answer}")
        parts.append(f"{text}\n{columns(('EXPERT', 'SHARE, %'), rows)}")
    return "\n\n".join(parts)
