"""`run` of a finished study, `table` and `report`, over a store that was played."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from in_process import Answer
from in_process import ablate as command

from ablate.commands import report as reporting
from ablate.reports import against, formats, tables
from ablate.reports.load import load

Call = Callable[..., Answer]


@pytest.fixture
def ablate(played: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """A command with that study."""
    monkeypatch.setenv("ABLATE_HOME", str(played.parent / "home"))
    return lambda name, *words: command(name, str(played), *words)


def test_a_finished_study_run_again_prints_its_tables_and_the_report(
    ablate: Call, played: Path
) -> None:
    code, out, err = ablate("run")
    assert code == 0
    *table, last = out.splitlines()
    assert sum(line.startswith("|") for line in table) == 2 + 10
    assert [line.split(":")[0] for line in table[-3:]] == ["answer", "how sure", "cost"]
    assert "leave training noise out" in table[-2]
    assert "CPU-minutes for 36 steps" in table[-1]
    assert err.splitlines()[-2:] == [
        f"  ablate report {played} --open",
        f"  ablate compare {played} base best --flips 3",
    ]
    assert last.startswith("report: ")
    assert Path(last.removeprefix("report: ")).is_file()


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_the_end_of_a_run_fits_it_and_keeps_the_caveat(
    ablate: Call, played: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(reporting, "on_terminal", lambda stream: True)
    text = re.sub(r"\x1b\[[0-9;]*m", "", reporting.ending(load(str(played)), None))
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert sum(" winner " in line for line in lines) == 3
    assert any(re.match(r" +3  \+ \S+ +winner ", line) for line in lines)
    assert "GQA" not in text
    words = " ".join(text.split())
    assert "answer: clip-micro@32 + " in words
    assert "how sure: 96 questions on 12 images. One training run each" in words
    assert "leave training noise out" in words
    assert "cost: " in words


def test_table_on_a_terminal_fits_unless_a_format_is_asked_for(
    ablate: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(reporting, "on_terminal", lambda stream: True)
    for more in ((), ("--significance",), ("--against", "paper")):
        out = re.sub(r"\x1b\[[0-9;]*m", "", ablate("table", *more).out)
        assert max(map(len, out.splitlines())) <= 80
        assert "|" not in out
    assert ablate("table", "--format", "md").out.count("\n|") == 2 + 10


@pytest.mark.usefixtures("unreported")
def test_run_of_the_first_rounds_prints_only_those(ablate: Call) -> None:
    _, out, _ = ablate("run", "--round", "1")
    assert sum(line.startswith("|") for line in out.splitlines()) == 2 + 1


@pytest.mark.parametrize("form", formats.FORMATS)
def test_table_prints_each_format(ablate: Call, played: Path, form: str) -> None:
    code, out, err = ablate("table", "--format", form)
    found = load(str(played))
    assert (code, err) == (0, "")
    frame, notes = tables.rounds(found), tables.notes(found)
    assert out == formats.render(frame, form, tables.caption(found), notes)


def test_table_json_is_format_json(ablate: Call) -> None:
    assert ablate("table", "--json") == ablate("table", "--format", "json")
    told = json.loads(ablate("table", "--json")[1])
    assert len(told["rows"]) == 10
    assert "leave training noise out" in told["notes"][0]


@pytest.mark.parametrize("form", formats.FORMATS)
def test_table_against_paper_prints_each_format(ablate: Call, played: Path, form: str) -> None:
    code, out, err = ablate("table", "--against", "paper", "--format", form)
    found = load(str(played))
    notes = against.notes(found)
    assert (code, err) == (0, "")
    assert out == formats.render(against.against(found), form, against.caption(found), notes)
    assert "DINOv2 adds to two encoders and takes away from more" in out


def test_table_against_anything_else_is_refused(ablate: Call) -> None:
    code, _, err = ablate("table", "--against", "papers")
    assert code == 2
    assert "'paper'" in err
    without = ("--set", "published=null", "--set", "explore.published=[]")
    code, _, err = ablate("table", "--against", "paper", *without)
    assert code == 2
    assert err.endswith("names no published table: give it the field `published`\n")


@pytest.fixture
def report(own_home: Path) -> Call:
    """The command with a study that never ran, of which a report is soon built."""
    return lambda *words: command("report", "micro/smoke", *words)


def test_report_prints_its_path(report: Call) -> None:
    code, out, _ = report()
    assert code == 0
    assert Path(out.strip()).name == "index.html"
    assert json.loads(report("--json")[1])["path"] == out.strip()


def test_report_in_a_single_file_prints_its_path(report: Call) -> None:
    code, out, _ = report("--single-file")
    assert code == 0
    path = Path(out.strip())
    assert path.suffix == ".html"
    assert path.is_file()
    assert json.loads(report("--single-file", "--json")[1])["path"] == out.strip()


@pytest.mark.parametrize("word", ["--json", "--single-file"])
def test_a_live_report_makes_no_file(ablate: Call, word: str) -> None:
    code, _, err = ablate("report", "--live", word)
    assert code == 2
    assert "--live makes no file" in err


def test_report_open_asks_the_browser(report: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) is None)
    _, out, _ = report("--open")
    assert opened == [Path(out.strip()).as_uri()]


def test_plan_and_status_of_a_finished_study(ablate: Call) -> None:
    plan = json.loads(ablate("plan", "--json")[1])
    assert all(step["cached"] for step in plan["steps"])
    assert not any(one["provisional"] for one in plan["candidates"])
    assert json.loads(ablate("status", "--json")[1])["complete"]
