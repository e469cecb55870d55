"""Two trained candidates that are asked the same about a picture, each with experts masked or not.

Answers are those of `ablate chat`: greedy, a conversation of one turn.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ablate.errors import UserError
from ablate.evaluate.answerer import Answerer
from ablate.evaluate.dialogue import Dialogue
from ablate.evaluate.masking import Masking
from ablate.store.votes import Reply


@dataclass(frozen=True)
class Contender:
    """One of the two; `name` tells it from all others, as `STUDY:CANDIDATE`."""

    name: str
    subject: Answerer

    @classmethod
    def load(cls, name: str, folder: Path) -> "Contender":
        """The candidate that the step of training in `folder` left."""
        return cls(name, Answerer.load(folder))

    @property
    def experts(self) -> list[str]:
        """Their titles, in the order of the mixture."""
        return [spec.title for spec in self.subject.model.spec.encoders]

    @cached_property
    def fixed(self) -> str | None:
        """Why no expert can be masked; None where each can."""
        if len(self.experts) < 2:
            return "a mixture of one: there is none to mask"
        try:
            Masking(self.subject.model)
        except UserError as error:
            return str(error)
        return None

    def reply(self, words: str, image: Path | bytes, masked: Collection[str] = ()) -> Reply:
        """What it says of an image, or a file's bytes, while these experts see nothing.

        UserError for an image that is none, and for words too long for the model.
        """
        kept = [number for number, title in enumerate(self.experts) if title not in masked]
        talk = Dialogue(self.subject, kept if masked else None)
        talk.show(self.subject.picture(image), self.subject.note(image))
        return Reply(self.name, tuple(sorted(masked)), talk.say(words))
