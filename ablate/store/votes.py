"""Which of two answers people found better: a line a vote in the home. Imports no torch."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from os import SEEK_END
from pathlib import Path
from typing import NamedTuple

from ablate.files import MISSHAPEN, writing
from ablate.home import Home


class Reply(NamedTuple):
    """What a candidate, by its name `STUDY:CANDIDATE`, said while these experts were masked."""

    candidate: str
    masked: tuple[str, ...]
    answer: str

    @property
    def of(self) -> str:
        """The candidate, and what was masked."""
        return " without ".join(filter(None, [self.candidate, ", ".join(self.masked)]))


@dataclass(frozen=True)
class Vote:
    """`better`: the number of the better of the two `replies`, None for as good; `image`: sha256 of
    the file; `blind`: whether their names were hidden."""

    question: str
    image: str
    replies: tuple[Reply, Reply]
    better: int | None
    blind: bool

    @classmethod
    def on(
        cls,
        question: str,
        image: Path | bytes,
        replies: tuple[Reply, Reply],
        better: int | None,
        blind: bool,
    ) -> "Vote":
        """On two replies about an image, or a file's bytes."""
        content = image if isinstance(image, bytes) else image.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        return cls(question, digest, replies, better, blind)


class Tally(NamedTuple):
    """How often the first of two was found better, the second, neither; how many votes were
    blind."""

    first: str
    second: str
    first_better: int
    second_better: int
    as_good: int
    blind: int


def keep_vote(home: Path, vote: Vote) -> None:
    """Put a vote behind those that are there. UserError where nothing can be written."""
    file = Home(home).votes
    line = json.dumps({**asdict(vote), "replies": [reply._asdict() for reply in vote.replies]})
    with writing(home):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab+") as lines:
            if lines.tell():
                lines.seek(-1, SEEK_END)
                line = line if lines.read() == b"\n" else f"\n{line}"  # behind one that was cut
            lines.write(f"{line}\n".encode())


def votes(home: Path) -> Iterator[Vote]:
    """Every vote in the home, the oldest first; a line that is none is passed over."""
    file = Home(home).votes
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for line in lines:
        try:
            yield _vote(line)
        except MISSHAPEN:  # a kill may have cut it short
            continue


def _vote(line: str) -> Vote:
    fields = json.loads(line)
    first, second = (
        Reply(reply["candidate"], tuple(reply["masked"]), reply["answer"])
        for reply in fields["replies"]
    )
    better, blind = fields["better"], fields["blind"]
    return Vote(fields["question"], fields["image"], (first, second), better, blind)


def tallies(home: Path) -> list[Tally]:
    """A row for each two that were compared, whichever stood on the left; the most votes first."""
    counts: dict[tuple[str, str], list[int]] = {}
    for vote in votes(home):
        names = [reply.of for reply in vote.replies]
        first, second = sorted(names)
        count = counts.setdefault((first, second), [0, 0, 0, 0])
        winner = None if vote.better is None else names[vote.better]
        count[2 if winner is None else int(winner != first)] += 1
        count[3] += vote.blind
    rows = [Tally(*pair, *count) for pair, count in counts.items()]
    return sorted(rows, key=lambda row: -(row.first_better + row.second_better + row.as_good))
