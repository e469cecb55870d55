"""What the command line promises: results, one-line errors, exit codes, a quick start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import ablate

from ablate.__main__ import main
from ablate.catalog import suites
from ablate.commands import plan as planning
from ablate.commands.list import CATALOGS
from ablate.commands.options import Catalog
from ablate.errors import UserError

COMMANDS = (
    *("run", "retry", "plan", "fetch", "status", "logs", "cancel", "clean"),
    *("list", "table", "replay", "compare", "noise", "report", "doctor", "bake"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(command: str) -> None:
    result = ablate(command, "--help")
    assert result.code == 0
    assert f"  ablate {command}" in result.out.split("Example")[1]
    assert "[[" not in result.out


def test_help_names_every_command() -> None:
    result = ablate("--help")
    assert result.code == 0
    assert all(f"\n  {command} " in result.out for command in COMMANDS)


def test_without_arguments_it_shows_its_help() -> None:
    result = ablate()
    assert result.code == 2
    assert "Commands:" in result.out + result.err


def test_list_prints_json() -> None:
    encoders = json.loads(ablate("list", "encoders", "--json").out)
    by_title = {row["encoder"]: row for row in encoders}
    assert "clip-micro@32" in by_title
    sam = by_title["sam-l@1024"]
    assert sam["weights"]["ref"] == "facebook/sam-vit-large"
    assert (sam["licence"], sam["task"]) == ("Apache-2.0", "segmentation")
    assert sam["parameters"] == 308_278_272
    assert sam["flops"] > 10**12
    (vicuna,) = (r for r in json.loads(ablate("list", "llms", "--json").out) if "13b" in r["llm"])
    assert vicuna["weights"]["ref"] == "lmsys/vicuna-13b-v1.5"
    assert "USER: " in vicuna["template"]
    fusions = json.loads(ablate("list", "fusions", "--json").out)
    assert {"channel_concat", "llava_hr"} <= {row["fusion"] for row in fusions}
    studies = json.loads(ablate("list", "studies", "--json").out)
    assert "micro/rounds" in [row["study"] for row in studies]


def test_list_takes_every_catalog_there_is() -> None:
    assert list(Catalog) == list(CATALOGS)


@pytest.mark.parametrize("what", list(Catalog))
def test_list_prints_columns(what: str) -> None:
    lines = ablate("list", what).out.splitlines()
    assert len(lines) > 1
    assert lines[0] == lines[0].upper()
    if what in ("encoders", "llms"):
        assert max(map(len, lines)) <= 120
        assert {"PARAMETERS", "LICENCE", "SOURCE"} <= {*lines[0].split()}


def test_plan_of_the_default_study_is_ten_candidates_and_aligns_each_expert_once() -> None:
    plan = json.loads(ablate("plan", "--round", "3", "--json").out)
    assert plan["study"] == "micro/rounds"
    assert [one["round"] for one in plan["candidates"]] == [1] + [2] * 5 + [3] * 4
    aligned = [step["slug"] for step in plan["steps"] if step["kind"] == "prealign"]
    assert len(aligned) == len(set(aligned)) == 6
    base = next(step for step in plan["steps"] if step["slug"] == "clip-micro@32")
    assert base["used_by"] == [one["name"] for one in plan["candidates"]]
    assert not any(step["cached"] for step in plan["steps"])


def test_plan_in_words_says_what_is_provisional() -> None:
    text = ablate("plan").out
    assert text.count("if the first of the round wins") == 4
    assert "10 candidates, 36 steps: 0 cached, 36 to do" in text


def test_a_study_is_planned_without_its_data_and_run_only_with_it(tmp_path: Path) -> None:
    source = {"conversations": "$ABLATE_DATA/pairs.json", "rows": 558000}
    study = {"extends": "micro/smoke", "data": {"pairs": source}}
    (tmp_path / "mine.yaml").write_text(json.dumps(study))
    mine = str(tmp_path / "mine.yaml")
    plan = json.loads(ablate("plan", mine, "--json").out)
    assert plan["data"]["pairs"] == {"rows": 558000, "here": False}
    assert plan["data"]["conversations"] == {"rows": 64, "here": True}
    assert "counted as declared: pairs (558,000 rows)" in ablate("plan", mine).out
    result = ablate("run", mine)
    assert result.code == 2
    place = tmp_path / "home" / "datasets" / "pairs.json"
    assert result.err == f"ablate: data is missing: pairs (558,000 rows): nothing at {place}\n"


def test_an_override_changes_the_steps_it_concerns() -> None:
    before = json.loads(ablate("plan", "--json").out)["steps"]
    changed = "base.recipe.finetune.steps=7"
    after = json.loads(ablate("plan", "--set", changed, "--json").out)["steps"]
    kept = {step["kind"] for step in after if step["key"] in {one["key"] for one in before}}
    assert kept == {"prealign", "pretrain"}


def test_a_dry_run_prints_the_plan_and_leaves_nothing(tmp_path: Path) -> None:
    result = ablate("run", "--dry-run", "--round", "2")
    assert "6 candidates" in result.out
    assert not (tmp_path / "home").exists()


def test_status_of_a_study_that_never_ran() -> None:
    status = json.loads(ablate("status", "micro/smoke", "--json").out)
    assert not status["complete"]
    assert {one["state"] for turn in status["rounds"] for one in turn["candidates"]} == {"waiting"}
    assert "0 of" in ablate("status", "micro/smoke").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "micro/round"], "did you mean 'micro/rounds'?"),
        (["plan", "--round", "9"], "no round 9; choose one of 1 to 6 (without --round it makes 3)"),
        (["plan", "--set", "base.lm=x"], "did you mean 'llm'?"),
        (["plan", "--rond", "3"], "--round"),
        (["plann"], "Did you mean 'plan'"),
        (["list", "encoder"], "encoders"),
        (
            ["table", "--format", "xml"],
            "'xml' is no valid value; did you mean 'html', or another of csv",
        ),
        (["run", "--backend", "slrm"], "no backend 'slrm'; did you mean 'slurm'?"),
        (["table", "--significance", "--against", "paper"], "ask for one of them"),
        (["table", "--significance", "--fragility"], "ask for one of them"),
        (["table", "--fragility", "--against", "paper"], "asks no published benchmark"),
        (["replay", "--over", "papr"], "papr: cannot be read: No such file"),
        (["replay", "--over", "store"], "round 1 asks for clip-micro@32, which the store in"),
        (["replay", "--strategy", "arm"], "no strategy 'arm'; did you mean 'arms'?"),
        (["compare", "clip-mirco@32", "base"], "did you mean 'clip-micro@32'?"),
        (["compare", "micro/round:base", "best"], "did you mean 'micro/rounds'?"),
        (["run", "--jobs", "0"], "--jobs"),
        (["logs", "nothing"], "no step has printed anything"),
        (["bake", "clip-mini"], "did you mean 'clip-micro'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words: list[str], said: str) -> None:
    result = ablate(*words)
    assert result.code == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert result.out == ""


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("connector=identity", "tokens are 96 wide, not 128 as the language model's; choose"),
        ("injection={name: deepstack, stacks: 99}", "take 2 to 5 stacks"),
        ("tiling={name: internvl, max_tiles: 100000}", "1024 at most"),
        ("fusion={name: sphinx, grid: [4, 4], options: {heads: 7}}", "7 heads do not divide"),
    ],
)
@pytest.mark.parametrize("command", [("plan",), ("run", "--dry-run")])
def test_a_plan_refuses_what_cannot_be_built(
    command: tuple[str, ...], choice: str, said: str
) -> None:
    result = ablate(*command, "micro/smoke", "--set", f"base.{choice}")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert said in result.err


@pytest.mark.parametrize("words", [("run", "--backend", "inline"), ("report",)])
def test_a_home_that_cannot_be_made_is_a_mistake_in_one_line(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ABLATE_HOME", str(tmp_path / "file" / "home"))
    result = ablate(*words)
    assert result.code == 2
    assert result.err.splitlines()[-1] == (
        f"ablate: cannot make {tmp_path}/file/home: Not a directory; choose another $ABLATE_HOME"
    )


def test_debug_shows_the_traceback_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["--debug", "plan", "nothing"], ["plan", "nothing", "--debug"]):
        monkeypatch.setattr(sys, "argv", ["ablate", *words])
        with pytest.raises(UserError, match="no study"):
            main()


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "show", interrupted)
    result = ablate("plan")
    assert (result.code, result.err.count("\n")) == (130, 1)


def test_a_fault_of_ours_is_one_line_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(planning, "show", broken)
    result = ablate("plan")
    assert result.code == 1
    assert result.err == "ablate: internal error: RuntimeError: two lines (--debug shows where)\n"


def test_a_reader_that_stops_early_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m ablate list encoders --json | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("[\n", "")


def test_quick_commands_import_nothing_heavy(tmp_path: Path) -> None:
    words = [["--help"], ["list", "encoders"], ["list", "fusions"], ["list", "studies"]]
    words += [["list", "suites"], ["list", "llms"], ["plan"], ["status"], ["run", "--dry-run"]]
    titles = [task.title for task in suites.resolve("micro").tasks]
    rows = ["candidate,benchmark,score,cost", *(f"clip-micro,{title},50,1" for title in titles)]
    (tmp_path / "scores.csv").write_text("\n".join(rows))
    words += [["replay", "--round", "1", "--over", "scores.csv"]]
    heavy = ["torch", "numpy", "pandas", "matplotlib", "rich", "lightning", "timm", "submitit"]
    program = f"""
import contextlib, io, sys
from ablate.__main__ import main
from ablate.catalog import suites
for words in {words}:
    sys.argv = ["ablate", *words]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main()
    print(words, [name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines() == [f"{one} []" for one in words]


@pytest.mark.parametrize(
    "words", [["plan", "{}"], ["plan", "--set", "base.llm={}"], ["cancel", "{}"], ["table", "./{}"]]
)
def test_a_name_that_no_file_can_have_is_a_users_mistake(words: list[str]) -> None:
    result = ablate(*(word.format("x" * 5000) for word in words))
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "no name of a file is as long as" in result.err
