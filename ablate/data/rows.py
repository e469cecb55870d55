"""Rows of a source made ready to learn from, and why the others cannot be.

A row is anyone's data, and there is no list of what may be wrong with one: a template that refuses
a system turn, half a character, a name too long for the file system. So there is one place that
catches whatever a row raises, and names it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ablate.data.bad import identified, reason
from ablate.data.chat import Chat, Tokens, joined
from ablate.data.conversations import Conversation, conversation, says_something
from ablate.data.index import Row
from ablate.data.notes import Notes, image_name, with_notes
from ablate.data.readers import Reader, Unreadable
from ablate.errors import UserError

SHOWN = 80
"""Characters of a row's id that are kept."""

T = TypeVar("T")


@dataclass(frozen=True)
class Understanding:
    """How rows of `source` are understood: image paths start at `folder`, `chat` tokenises; behind
    each image stand the `notes` on it, in which the source is called `name`."""

    source: Reader
    folder: Path | None
    chat: Chat
    notes: Notes | None = None
    name: str = ""

    def rows(self, chunk: Sequence[tuple[int, Any]]) -> tuple[list[Row], list[str]]:
        """Those of the numbered raw rows that can be used; and of all others, in order, why not.

        A reason names file, row, and id.
        """
        raws, bad = dict(chunk), dict[int, str]()

        def each(use: Callable[[int], T], numbers: Sequence[int]) -> dict[int, T]:
            done = {}
            for number in numbers:
                try:
                    done[number] = use(number)
                except Exception as error:  # whatever it is, it is this row that raises it
                    where = identified(self.source.where(number), _identity(raws[number]))
                    bad[number] = f"{where}: {reason(error)}"
            return done

        talks = each(lambda number: self._conversation(raws[number]), list(raws))
        try:
            tokens = dict(zip(talks, self._tokens([*talks.values()]), strict=True))
        except Exception:  # of one of them, or several
            tokens = each(lambda number: self._tokens([talks[number]])[0], list(talks))
        rows = [
            Row(number, _identity(raws[number]), talk.images, tokens[number], says_something(talk))
            for number, talk in talks.items()
            if number in tokens
        ]
        return rows, [bad[number] for number in sorted(bad)]

    def _tokens(self, talks: Sequence[Conversation]) -> list[Tokens]:
        better = self.chat.encode([talk.messages for talk in talks])
        if not self.chat.pairs:
            return better
        worse = self.chat.encode([talk.worse() for talk in talks])
        return [joined(*pair) for pair in zip(better, worse, strict=True)]

    def _conversation(self, raw: Any) -> Conversation:
        if isinstance(raw, Unreadable):
            raise UserError(raw.reason)
        talk = conversation(raw, self.folder)
        if self.notes is None:
            return talk
        notes = [self.notes.on(self.name, image_name(image), self.chat) for image in talk.images]
        return replace(talk, messages=with_notes(talk.messages, notes))


def _identity(raw: Any) -> str:
    """The row's id, shortened; nothing where it has none that is a text or a number."""
    identity = raw.get("id") if isinstance(raw, dict) else None
    return str(identity)[:SHOWN] if isinstance(identity, str | int | float) else ""
