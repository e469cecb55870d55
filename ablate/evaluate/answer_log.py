"""What a candidate has answered to a suite, kept as it answers.

    <prefix>/answers.<share>.<rank>.jsonl   {"answers": [[set, number, text, seconds, ...], ...]}

`prefix` is a folder of the evaluation whatever its share, so of the same weights and suite. What
has an answer there is not asked again, neither by a step that was killed and goes on nor by a
larger share. A line is what one process answered at once, with a checksum: one that was half
written, or changed, is none.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ablate.files import parse_json, with_checksum, without_checksum

OURS = "ablate"
"""What generates answers unless it is told otherwise."""
Key = tuple[str, int]
"""A question: its set, as the part of the task is called, and its number there."""


class Answer(NamedTuple):
    """An answer as it was generated: its share of the seconds that it took with others, for each of
    its images who was named, what generated it, and whether an evaluation of another share had."""

    text: str
    seconds: float
    named: list[list[bool]]
    by: str
    taken_over: bool = False


class AnswerLog:
    """The answers to a share of the questions that process number `rank` gives, and all others."""

    def __init__(self, prefix: Path, share: float, rank: int) -> None:
        self._prefix, self._share = prefix, f"{share:g}"
        self._file = prefix / f"answers.{self._share}.{rank}.jsonl"
        self._begun = False

    def rows(self) -> list[list[Any]]:
        """What all processes of all shares have answered, a share and a row each."""
        return [
            [file.name.removeprefix("answers.").rsplit(".", 2)[0], *row]
            for file in sorted(self._prefix.glob("answers.*.jsonl"))
            for line in file.read_bytes().splitlines()
            for row in _answers(line)
        ]

    def answers(self, rows: Iterable[list[Any]]) -> dict[Key, Answer]:
        """What `rows` say; of two answers to a question that of this share."""
        taken_over, others = dict[Key, Answer](), dict[Key, Answer]()
        for share, part, number, *answer in rows:
            if share == self._share:
                others[part, number] = Answer(*answer)
            else:
                taken_over[part, number] = Answer(*answer)._replace(taken_over=True)
        return taken_over | others

    def append(self, answers: Mapping[Key, Answer]) -> None:
        """Keep answers to some more questions."""
        rows = [[*key, *answer[:-1]] for key, answer in answers.items()]
        line = json.dumps(with_checksum({"answers": rows}))
        self._prefix.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            # A process that was killed may have left half a line.
            file.write(f"{line}\n" if self._begun else f"\n{line}\n")
        self._begun = True


def _answers(line: bytes) -> list[list[Any]]:
    """What a line says; nothing where it is damaged."""
    rows: list[list[Any]] = []
    with suppress(ValueError):
        rows = (without_checksum(parse_json(line)) or {}).get("answers", [])
    return rows
