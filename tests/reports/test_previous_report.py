"""A report is made anew only where something changed, and is to the byte what a whole one is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import contents
from synthetic import ARMS, STUDY, Run, study

from ablate.files import read_checked, sha256_file, with_checksum, write_json
from ablate.reports import site
from ablate.reports.browser import Browser
from ablate.reports.load import load
from ablate.reports.made_of import _code, made_of
from ablate.reports.previous import ReportFiles
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

    def rescore(self) -> None:
        """A result is another, and whole."""
        folder = next((self.home / "store" / "evaluate").iterdir())
        for name in ("record.json", "manifest.json"):
            value = read_checked(folder / name) or {}
            if name == "record.json":
                value["result"]["composite"] -= 1.0
            else:
                record = folder / "record.json"
                entry = {"size": record.stat().st_size, "sha256": sha256_file(record)}
                value["files"]["record.json"] = entry
            write_json(folder / name, with_checksum(value))

    def retitle(self) -> None:
        text = STUDY.replace("The greedy search, small", "Another title")
        self.subject = study(self.folder, text + ARMS, "fusion")

    def remove(self) -> None:
        """An arm is no longer in the study."""
        self.subject = study(
            self.folder, STUDY + ARMS[: ARMS.index("    - {name: llava")], "fusion"
        )
        self.left = self.left[:1]

    def made_of(self) -> str:
        known = load(self.subject, self.home)
        return made_of(known, Browser(known))

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
    made, before, held = rendered(monkeypatch), identities(report), contents(report)
    with monkeypatch.context() as nothing_is_made:
        nothing_is_made.setattr(site, "_write", None)
        growing.report()
    assert identities(report) == before
    growing.finish()
    growing.report()
    now, left = contents(report), identities(report)
    same = {name for name in held if now.get(name) == held[name]}
    assert {name for name in before if left.get(name) == before[name]} == same
    assert {"index.html", "results.html", "candidates/002.html"}.isdisjoint(same)
    assert {"assets/report.css", "candidates/003.html", "data/answers/1.js"} <= same
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
    Growing.rescore,
    Growing.retitle,
    Growing.remove,
)
OTHERWISE = (Growing.rescore, Growing.retitle, Growing.remove)


def test_what_a_report_is_made_of_is_told_by_all_that_it_shows(
    growing: Growing, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [growing.made_of(), growing.made_of()]
    assert seen[0] == seen.pop()
    for change in (Growing.print_more, Growing.finish, *OTHERWISE):
        change(growing)
        seen.append(growing.made_of())
    (next(growing.home.rglob("images/*.png"))).write_bytes(b"another")
    seen.append(growing.made_of())
    monkeypatch.setenv("SOME_TOKEN", "what-is-taken-out")
    seen.append(growing.made_of())
    monkeypatch.setattr("ablate.reports.made_of._code", lambda: "another version")
    seen.append(growing.made_of())
    assert len(set(seen)) == len(seen)


def test_templates_assets_and_sources_count_with_a_report() -> None:
    files, libraries = _code()
    names = {name for name, _ in files}
    assert {"shell.html", "index.html", "report.css", "answers.js", "site.py", "draws.py"} <= names
    assert "matplotlib" in dict(libraries)


@pytest.mark.slow
@pytest.mark.parametrize("change", OTHERWISE)
def test_a_study_that_is_another_has_the_report_of_one_made_from_nothing(
    change: Callable[[Growing], None], growing: Growing
) -> None:
    report = growing.report()
    before = contents(report)
    change(growing)
    growing.report()
    assert contents(report) != before
    assert contents(report) == growing.scratch()


@pytest.mark.slow
def test_another_version_of_a_template_makes_every_page_anew(
    growing: Growing, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing.report()
    made = rendered(monkeypatch)
    for known in ("ablate.reports.made_of._code", "ablate.reports.previous._sources"):
        monkeypatch.setattr(known, lambda: "another")
    growing.report()
    assert len(made) == len(growing.subject.explore.arms)


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


def test_a_file_in_parts_that_is_the_same_stays_that_file(tmp_path: Path) -> None:
    none, before, again = (tmp_path / name for name in ("none", "before", "again"))
    for folder, older in ((before, none), (again, before)):
        folder.mkdir()
        files = ReportFiles(folder, older)
        files.write("same.csv", iter(["a\n", "\ud800\n"]))
        files.write("other.csv", [folder.name])
        files.put("same.csv", b"a file of this name is there")
    assert (again / "same.csv").samefile(before / "same.csv")
    assert (again / "same.csv").read_bytes() == b"a\n?\n"
    assert (again / "other.csv").read_text() == "again"
