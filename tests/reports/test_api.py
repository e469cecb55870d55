"""Other programs: what --json prints is what its published schema says; the functions below it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest
from in_process import ablate, conforms, faked

from ablate import api
from ablate.commands.schemas import SCHEMAS, schema
from ablate.config.study import Study
from ablate.reports import tables

COMMANDS = {
    "plan": ("{}",),
    "status": ("{}",),
    "table": ("{}",),
    "table --significance": ("{}",),
    "table --fragility": ("{}",),
    "report": ("{}",),
    "noise": ("{}",),
    "compare": ("{}", "base", "best", "--flips", "2"),
    "fetch": ("{}", "--dry-run"),
    "replay": ("{}", "--over", "store"),
    "doctor": (),
    **{f"list {what}": () for what in ("encoders", "metrics", "studies", "suites", "strategies")},
}


@pytest.fixture
def home(played: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ABLATE_HOME", str(played.parent / "home"))
    return played.parent / "home"


@pytest.mark.parametrize("line", COMMANDS)
def test_a_commands_json_is_as_its_schema_says(line: str, played: Path, home: Path) -> None:
    words = [word.format(played) for word in COMMANDS[line]]
    code, out, err = ablate(*line.split(), *words, "--json")
    assert out, err
    assert code in (0, 1), err
    conforms(json.loads(out), line.split()[0])


def test_every_schema_is_one_and_is_printed(home: Path) -> None:
    for name in SCHEMAS:
        jsonschema.Draft202012Validator.check_schema(schema(name))
        assert json.loads(ablate("schema", name).out) == schema(name)
    assert json.loads(ablate("schema").out).keys() == SCHEMAS.keys()
    code, _, err = ablate("schema", "stauts")
    assert (code, "did you mean 'status'?" in err) == (2, True)


def test_a_run_tells_each_event_in_a_line_and_how_it_ended(
    fakes: Mapping[str, str], own_home: Path
) -> None:
    with faked(fakes):
        code, out, _ = ablate("run", "micro/smoke", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    for line in lines:
        conforms(line, "run")
    assert code == 0
    events = [line["event"] for line in lines]
    assert (events[-1], events.count("decided")) == ("finished", 2)
    done = [line["step"] for line in lines if line["event"] == "done"]
    assert len({step["key"] for step in done}) == len(done) > 10
    assert lines[-1]["done"] == lines[-1]["total"]
    assert Path(lines[-1]["report"]).is_file()
    assert lines[-1]["failures"] == []
    conforms(json.loads(ablate("logs", lines[1]["step"]["key"], "--json").out), "logs")
    planned = ablate("run", "micro/smoke", "--json", "-n").out
    conforms(json.loads(planned), "plan")


def test_lines_are_of_a_driver_that_is_here(own_home: Path) -> None:
    code, _, err = ablate("run", "micro/smoke", "--json", "--detach", "--backend", "slurm")
    assert (code, "status -w --json" in err) == (2, True)


def test_functions_do_as_the_commands(
    small: Study, fakes: Mapping[str, str], own_home: Path
) -> None:
    events: list[api.Event] = []
    assert api.plan(small).to_json()["totals"]["gpu_hours_to_do"] > 0
    with faked(fakes):
        result = api.run(small, rounds=1, on_event=events.append)
    assert "decided" in [event.what for event in events[-2:]]  # it may be seen before a step ends
    assert [one.composite is not None for one in result.candidates] == [True, False, False]
    table = api.table(small)
    assert table.frame.equals(tables.comparison(result))
    assert table.caption == tables.caption(result)
    shown = json.loads(ablate("table", "micro/smoke", "--json").out)
    assert shown["rows"][0]["score"] == table.frame["score"][0]
    page = api.report(small, single_file=True)
    assert "<html" in page.read_text(encoding="utf-8")
    with pytest.raises(api.UserError, match="did you mean"):
        api.load_study("micro/smok")


def test_the_line_that_the_documentation_shows_is_as_its_schema_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    [line] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    conforms(json.loads(line), "run")
