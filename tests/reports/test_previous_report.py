"""A report is made anew only where something changed, and is to the byte what a whole one is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import contents
from synthetic import ARMS, STUDY, Run, study

from ablate.reports import site
from ablate.reports.load import load
from ablate.search.explore import rounds_so_far
from ablate.store.results import StoredResults
from ablate.store.steps import steps_for


class Growing:
    """A study of three arms, of which one is done, and its report."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.subject = study(folder, STUDY + ARMS, "fusion")
        self.run = Run(self.home, self.subject, images=8, per_image=1)
        lookup = StoredResults(self.run.store, self.subject)
        self.left = list(rounds_so_far(self.subject, lookup)[0].candidates)
        self.finish()

    def report(self, name: str = "report") -> Path:
        return site.build(load(self.subject, self.home), self.folder / name).parent

    def scratch(self) -> dict[str, bytes]:
        """The files of a report that is made without another before it."""
        whole = self.report("whole")
        files = contents(whole)
        shutil.rmtree(whole)
        return files

    def finish(self) -> None:
        if self.left:
            self.run.finish(self.left.pop(0))

    def fail(self) -> None:
        if self.left:
            self.run.fail(self.left.pop(0), "finetune", "out of memory")

    def print_more(self) -> None:
        """A line more in the log of the steps of what is left."""
        for candidate in self.left:
            logs = self.run.store.logs(steps_for(candidate, self.subject)[-1])
            logs.mkdir(parents=True, exist_ok=True)
            with (logs / "attempt-1.log").open("a", encoding="utf-8") as log:
                log.write("one more\n")

    def edit(self) -> None:
        (self.folder / "report" / "candidates" / "001.html").write_text("mine", encoding="utf-8")

    def lose(self) -> None:
        (self.folder / "report" / "candidates" / "002.html").unlink()

    def leave(self) -> None:
        """A page of a candidate that is gone."""
        pages = self.folder / "report" / "candidates"
        shutil.copyfile(pages / "001.html", pages / "009.html")

    def forget(self) -> None:
        """What the pages were made of is damaged."""
        (self.folder / "report" / "pages.json").write_text("{", encoding="utf-8")


@pytest.fixture
def growing(tmp_path: Path) -> Growing:
    return Growing(tmp_path)


def identities(report: Path) -> dict[str, tuple[int, int]]:
    return {
        path.relative_to(report).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in report.rglob("*")
        if path.is_file()
    }


def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the candidates' pages that are made from now on."""
    made: list[str] = []
    body = site._body

    def noted(page: site.Page, common: dict[str, object]) -> object:
        made.extend([page.path] if page.path.startswith("candidates/") else [])
        return body(page, common)

    monkeypatch.setattr(site, "_body", noted)
    return made


def test_pages_stay_whose_inputs_do(growing: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    report = growing.report()
    made, before = rendered(monkeypatch), identities(report)
    growing.report()
    assert made == []
    assert identities(report) == before
    growing.finish()
    growing.report()
    assert "candidates/002" in made
    assert "candidates/003" not in made
    after = identities(report)
    assert after["candidates/003.html"] == before["candidates/003.html"]
    assert after["candidates/002.html"] != before["candidates/002.html"]


CHANGES: tuple[Callable[[Growing], None], ...] = (
    Growing.finish,
    Growing.fail,
    Growing.print_more,
    Growing.edit,
    Growing.lose,
    Growing.leave,
    Growing.forget,
)


@pytest.mark.slow
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(st.sampled_from(CHANGES), min_size=2, max_size=2))
def test_whatever_changes_the_report_is_what_a_whole_one_is(
    changes: list[Callable[[Growing], None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    growing = Growing(tmp_path_factory.mktemp("growing"))
    report = growing.report()
    for change in changes:
        change(growing)
        growing.report()
        assert contents(report) == growing.scratch()


def test_a_page_that_was_edited_lost_or_left_behind_is_mended(growing: Growing) -> None:
    report = growing.report()
    before = contents(report)
    growing.edit()
    growing.lose()
    growing.leave()
    growing.report()
    assert contents(report) == before
