"""300 hostile texts wherever someone may write some, in a real browser: none runs, none shows."""

import dataclasses
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import pytest
from hostile import texts
from opened import Open
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ablate.reports.model import CandidateResult, StepResult, StudyResult
from ablate.reports.site import build, build_single
from ablate.store.answers import Answers

pytestmark = pytest.mark.browser
TEXTS = texts(300)


@pytest.fixture(scope="module")
def spoiled(greedy: StudyResult, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """The study with hostile words wherever someone may write some: an author, a set, a model."""
    home = tmp_path_factory.mktemp("spoiled")
    words, short = cycle(TEXTS), cycle(text for text in TEXTS if len(text) < 10_000)
    data = home / "data"
    for number, text in enumerate(TEXTS[12:40]):  # names that a file system takes
        path = data / "images" / f"{number} {text[:80].replace('/', '_')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "teal").save(path, pnginfo=_comment(text))
    names = sorted(f"images/{path.name}" for path in (data / "images").iterdir())

    def step(one: StepResult) -> StepResult:
        log = home / "logs" / f"{one.kind}-{one.dirname}" / "attempt-1.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("\n".join(next(words) for _ in range(20)), "utf-8", "replace")
        error = {"type": next(short), "message": next(words)}
        versions = {next(short): next(words) for _ in range(3)}
        record = {**one.record, "host": next(words), "versions": versions, "error": error}
        return dataclasses.replace(one, slug=next(short), record=record)

    def candidate(one: CandidateResult, asked: Sequence[str]) -> CandidateResult:
        rows = tuple(
            {**row, "question": text, "truth": next(words), "answer": next(words), "image": image}
            for row, text, image in zip(one.rows, asked, cycle(names), strict=False)
        )
        return dataclasses.replace(
            one,
            name=next(short),
            encoders=(next(short), next(short)),
            fusion=next(short),
            config={**one.config, "llm": next(words)}
            | {next(short): next(words) for _ in range(20)},
            steps=tuple(step(each) for each in one.steps),
            runs=(Answers.of(rows),),
            images=data,
        )

    asked = list(islice(cycle(TEXTS), 320))
    rounds = tuple(
        dataclasses.replace(
            turn, decision=None, candidates=tuple(candidate(one, asked) for one in turn.candidates)
        )
        for turn in greedy.rounds
    )
    return dataclasses.replace(
        greedy,
        name=next(short),
        title=next(short),
        question=next(short),
        base_name=rounds[0].candidates[0].name,
        tasks={task: next(short) for task in greedy.tasks},
        families={task: next(short) for task in greedy.tasks},
        rounds=rounds,
        home=home,
    )


def _comment(text: str) -> PngInfo:
    """A comment inside a PNG."""
    info = PngInfo()
    info.add_text("Comment", text.encode("utf-8", "replace").decode())
    return info


@pytest.mark.parametrize("form", ["folder", "one file"])
def test_of_300_hostile_texts_none_runs_and_none_breaks_the_layout(
    page: Open, spoiled: StudyResult, tmp_path: Path, form: str
) -> None:
    if form == "folder":
        build(spoiled, tmp_path / "report")
        addresses = [path.as_uri() for path in sorted((tmp_path / "report").rglob("*.html"))]
    else:
        whole = build_single(spoiled, tmp_path / "report.html").as_uri()
        addresses = [
            f"{whole}#{path}" for path in ("index", "results", "answers", "candidates/010")
        ]
    assert len(set(TEXTS)) == 300
    for width in (390, 1280):
        opened = page(viewport={"width": width, "height": 900})
        for address in addresses:
            opened.goto(address)
            if "answers" in address:
                opened.locator("#browser > li").nth(40).wait_for()
                for _ in range(6):
                    opened.locator("#more").click()
            assert opened.evaluate("window.ran") is None
            assert opened.evaluate("document.documentElement.scrollWidth") <= width, address
            assert opened.evaluate(_FOREIGN) == []


_FOREIGN = """() => [...document.querySelectorAll("*")]
  .filter((one) => [...one.attributes].some(({ name }) => name.startsWith("on"))
    || ["IFRAME", "OBJECT", "EMBED", "BASE", "MATH", "VIDEO", "TEMPLATE"].includes(one.tagName))
  .map((one) => one.outerHTML.slice(0, 200))"""
