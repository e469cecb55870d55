"""The browser of answers: its questions and answers in pieces that the page asks for one by one,
and the images re-encoded small.
"""

import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import PIL
from PIL import Image

from ablate.reports.answer_frame import encodable
from ablate.reports.model import CandidateResult, StudyResult
from ablate.reports.previous import take_over
from ablate.store.answers import Answers, Key

LARGEST = 512  # pixels of an image's longer side at most
READABLE = 1024  # the same where there is text to read: a benchmark of the family `TEXT` asks
TEXT = "Text"
QUALITY = 82  # of the re-encoded images, 0 to 100
LONGEST = 2000  # characters of a text that are shown
MOST = 5000  # questions a report holds; the published benchmarks have 50 times as many
_QUESTION = ["task", "id", "image", "question", "truth"]
_HOW = f"webp {QUALITY} {PIL.__version__}"


@dataclass(frozen=True, eq=False)
class Run:
    """One training run of a candidate: the column of its answers."""

    candidate: CandidateResult
    seed: int
    answers: Answers

    @property
    def name(self) -> str:
        """The candidate's, and the seed where there are several."""
        return self._with_seed(self.candidate.name)

    def label(self, study: StudyResult) -> str:
        """A name that fits a card: in a search the round, and what is added there."""
        label = study.label(self.candidate)
        short = label if label == self.candidate.name else f"Round {self.candidate.round}: {label}"
        return self._with_seed(short)

    def _with_seed(self, name: str) -> str:
        return f"{name} (seed {self.seed})" if len(self.candidate.runs) > 1 else name


@dataclass(frozen=True, eq=False)
class Browser:
    """What can be browsed of a study."""

    study: StudyResult

    @cached_property
    def candidates(self) -> tuple[CandidateResult, ...]:
        """Those that have answers, in the study's order."""
        return tuple(
            candidate
            for candidate in self.study.candidates
            if any(run.questions for run in candidate.runs)
        )

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Their training runs, in order; a piece of answers each."""
        return tuple(
            Run(candidate, seed, answers)
            for candidate in self.candidates
            for seed, answers in zip(candidate.config["seeds"], candidate.runs, strict=False)
        )

    @cached_property
    def positions(self) -> Mapping[CandidateResult | None, int]:
        """Where the first run of each of `candidates` stands in `runs`."""
        places: dict[CandidateResult | None, int] = {}
        for index, run in enumerate(self.runs):
            places.setdefault(run.candidate, index)
        return places

    @cached_property
    def every(self) -> pd.DataFrame:
        """Every question once, by (task, id): task, id, image, question, truth, source.

        `source` is the image's file. Where candidates disagree on a question, the first one counts.
        """
        known: dict[tuple[str, ...], list[str]] = {}
        lists: dict[int, Sequence[Key]] = {}  # mostly it is one, which all candidates share
        for run in self.runs:
            asked = run.answers.questions
            if id(asked) not in lists:
                lists[id(asked)] = asked
                for row in run.answers.read():
                    texts = [encodable(row[word]) for word in _QUESTION]
                    source = _source(run.candidate, texts[_QUESTION.index("image")])
                    known.setdefault(tuple(texts[:2]), [*texts, source])
        rows = [known[key] for key in sorted(known)]
        return pd.DataFrame(rows, columns=[*_QUESTION, "source"]).astype(str)

    @cached_property
    def questions(self) -> pd.DataFrame:
        """The questions a report holds: of more than `MOST` every k-th."""
        return self.every.iloc[:: -(-len(self.every) // MOST) or 1]

    @cached_property
    def compared(self) -> tuple[int, int]:
        """Whose first runs to compare at first: the base's, and the best's or the last winner's."""
        scored = self.candidates
        first = self.study.base if self.study.base in scored else next(iter(scored), None)
        wanted = [self.study.best, *reversed(self.study.winners), *scored]
        second = next(
            (candidate for candidate in wanted if candidate in scored and candidate is not first),
            first,
        )
        return (self.positions[first], self.positions[second]) if first and second else (0, 0)

    def answers(self, run: Run) -> list[tuple[str, float | None]]:
        """Answer and score of a run to each of `questions`; empty where it was not asked."""
        given = {
            (encodable(row["task"]), encodable(row["id"])): (
                encodable(row["answer"]),
                float(row["score"]),
            )
            for row in run.answers.read()
        }
        return [given.get(key, ("", None)) for key in self._wanted]

    @cached_property
    def _wanted(self) -> list[Key]:
        return list(zip(self.questions["task"], self.questions["id"], strict=True))

    def pieces(self, images: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
        """The data of the page by name: `questions`, and `answers/1`, ... a run each.

        `images`: the names of the images in the report, by their source.
        """
        kept = self.questions
        columns = {name: list(map(shortened, kept[name])) for name in ("id", "question", "truth")}
        a, b = self.compared
        yield (
            "questions",
            {
                "tasks": dict(self.study.tasks),
                "candidates": [shortened(run.name, 200) for run in self.runs],
                "labels": [shortened(run.label(self.study), 200) for run in self.runs],
                "asked": len(self.every),
                "a": a,
                "b": b,
                "task": kept["task"].tolist(),
                "image": [images.get(source) for source in kept["source"]],
                **columns,
            },
        )
        for number, run in enumerate(self.runs, start=1):
            given = self.answers(run)
            yield (
                f"answers/{number}",
                {
                    "answer": [shortened(answer) for answer, _ in given],
                    "score": [score if score is None else round(score, 4) for _, score in given],
                },
            )


def _source(candidate: CandidateResult, image: str) -> str:
    """The file of an image that the candidate was asked about; empty where there is none."""
    return "" if candidate.images is None else f"{candidate.images}{os.sep}{image}"


def shortened(text: str, most: int = LONGEST) -> str:
    """The text, or its beginning and how long it is."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text):,} characters)"


def verdict(score: float) -> str:
    """An answer's score in a word: right, partly or wrong."""
    return "right" if score >= 1 else "partly" if score > 0 else "wrong"


def encode(browser: Browser, folder: Path, before: Path | None = None) -> dict[str, str]:
    """Re-encode the images of the questions into `folder`, each once; their names by source.

    Pixels only: nothing else of the original file goes into the report. One that is missing or
    cannot be read is left out. A name is the hash of how and of what the image is made: those of a
    report made `before` are taken over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    roots = {candidate.images.resolve() for candidate in browser.candidates if candidate.images}
    asked = browser.questions
    sources = sorted(set(asked["source"]) - {""})
    text = set(asked["source"][asked["task"].map(browser.study.families) == TEXT])

    def copy(source: str) -> str | None:
        try:
            path = Path(source).resolve()
            if not any(path.is_relative_to(root) for root in roots):
                return None
            side = READABLE if source in text else LARGEST
            return _encode(path.read_bytes(), side, folder, before)
        except (OSError, ValueError):  # no path, or no file
            return None

    with ThreadPoolExecutor() as pool:
        made = zip(sources, pool.map(copy, sources), strict=True)
        return {source: name for source, name in made if name}


def _encode(content: bytes, side: int, folder: Path, before: Path | None) -> str | None:
    how = f"{_HOW} {side}".encode()
    name = f"{hashlib.sha256(how + content).hexdigest()[:16]}.webp"
    if (folder / name).exists():
        return name
    if before is not None and (before / name).is_file():
        take_over(before / name, folder / name)
        return name
    try:
        with Image.open(io.BytesIO(content)) as image:
            small = image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):  # no image
        return None
    small.thumbnail((side, side))
    small.save(folder / name, "WEBP", quality=QUALITY, method=4)
    return name
