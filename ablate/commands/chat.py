"""`ablate chat`: a conversation with a trained candidate, on the terminal."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.commands.output import note, say
from ablate.commands.trained import trained_candidate
from ablate.errors import UserError
from ablate.printable import printable

if TYPE_CHECKING:
    from ablate.evaluate.answerer import Answerer
    from ablate.evaluate.dialogue import Dialogue


def chat(named: str, image: Path | None, overrides: Sequence[str]) -> None:
    """Answer each line of the input, until it ends.

    A line that cannot be answered is told why, and the conversation goes on. UserError for a
    candidate that is not scored, and an `image` that is none.
    """
    trained = trained_candidate(named, overrides)
    assert trained.trained.folder is not None
    from ablate.evaluate.answerer import Answerer
    from ablate.evaluate.dialogue import Dialogue

    subject = Answerer.load(trained.trained.folder)
    talk = Dialogue(subject)
    if image:
        _show(talk, subject, image)
    note(f"{trained.candidate.name} of {trained.study.name}. /image FILE, /new; Ctrl-D ends it.")
    for line in _lines():
        word, _, rest = line.partition(" ")
        try:
            if word == "/new":
                talk = Dialogue(subject)
            elif word == "/image":
                _show(talk, subject, Path(rest.strip()).expanduser())
            else:
                say(printable(talk.say(line)))
        except UserError as error:
            note(str(error))


def _show(talk: "Dialogue", subject: "Answerer", image: Path) -> None:
    talk.show(subject.picture(image), subject.note(image))


def _lines() -> Iterator[str]:
    """What is typed, or piped in, without empty lines."""
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            return
        if line:
            yield line
