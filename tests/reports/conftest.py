"""Studies that were played once for all the tests here, and are changed by none; a browser."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opened import PHONE, Open
from synthetic import ARMS, FAILED, REASON, ROUNDS, STUDY, Run, study

from ablate.reports.load import load
from ablate.reports.model import StudyResult
from ablate.reports.site import build

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def greedy(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """Three rounds, the last of them with a failed candidate."""
    folder = tmp_path_factory.mktemp("greedy")
    subject = study(folder, STUDY + ROUNDS)
    Run(folder, subject).rounds(fail={FAILED: REASON})
    return load(subject, folder)


@pytest.fixture(scope="session")
def brief(greedy: StudyResult) -> StudyResult:
    """Its first round alone, of which a report is soon built."""
    return dataclasses.replace(greedy, rounds=greedy.rounds[:1])


@pytest.fixture(scope="session")
def site(greedy: StudyResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the report of `greedy`."""
    return build(greedy, tmp_path_factory.mktemp("site") / "report").parent


@pytest.fixture(scope="session")
def arms(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """Three fusions of two encoders, of two seeds."""
    folder = tmp_path_factory.mktemp("arms")
    subject = study(folder, STUDY + "seeds: [0, 1]\n" + ARMS, "fusion")
    Run(folder, subject, images=10).rounds()
    return load(subject, folder)


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The YAML of a study that was played to its end, beside its home."""
    folder = tmp_path_factory.mktemp("played")
    subject = study(folder, STUDY + ROUNDS)
    Run(folder / "home", subject, images=12).rounds()
    return folder / "greedy.yaml"


@pytest.fixture
def empty(tmp_path: Path) -> StudyResult:
    """A study that never ran."""
    (tmp_path / "store").mkdir()
    return load(study(tmp_path, STUDY + ROUNDS), tmp_path)


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    """One browser for the tests here; each has a profile of its own in it.

    It is gone before other tests fork: a child that outlives them would keep its pipe open.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )


@pytest.fixture
def page(chromium: "Browser") -> Iterator[Open]:
    """Makes pages that fail the test on an error, a dialog, or a request that leaves the disk."""
    wrong: list[str] = []
    contexts = []

    def opened(near: str = "file:", **options: Any) -> "Page":
        context = chromium.new_context(**{"viewport": PHONE, **options})
        context.set_default_timeout(10_000)
        contexts.append(context)
        made = context.new_page()
        made.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        made.on("pageerror", lambda error: wrong.append(str(error)))
        made.on("dialog", lambda dialog: wrong.append(dialog.message) or dialog.dismiss())
        made.on(
            "request",
            lambda r: None if r.url.startswith((near, "data:")) else wrong.append(r.url),
        )
        return made

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []
