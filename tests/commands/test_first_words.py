"""The first things that are typed: nothing, --version, Tab, a study before its candidates."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import ablate

from ablate.commands import completion
from ablate.commands.compare import ordered
from ablate.commands.study_status import read_status
from ablate.config.study import load_study
from ablate.errors import UserError
from ablate.store.artifacts import Store


def test_without_arguments_the_help_is_printed_as_it_is() -> None:
    bare, asked = ablate(), ablate("--help")
    assert (bare.code, bare.err) == (2, "")
    assert bare.out == asked.out
    assert "\n  run " in bare.out


def test_the_version_is_told() -> None:
    code, out, err = ablate("--version")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"ablate \d+\.\d+\.\d+\S*\n", out)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_names_of_studies_without_torch(shell: str, tmp_path: Path) -> None:
    typed = "ablate run micro/ro"
    words = {"COMP_WORDS": typed, "COMP_CWORD": "2"}
    words |= {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    code = (
        "import sys, ablate.__main__ as m\n"
        "sys.argv = ['ablate']\n"
        "try: m.main()\n"
        "finally: print('\\nheavy:', *({'torch', 'pandas', 'transformers'} & {*sys.modules}))"
    )
    surroundings = {**os.environ, **words, "_ABLATE_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**surroundings, "ABLATE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert "micro/rounds" in done.stdout
    assert "micro/fusion" not in done.stdout
    assert done.stdout.endswith("heavy:\n")


def test_completion_can_be_installed() -> None:
    said = ablate("--help").out
    assert "--install-completion" in said
    assert "--show-completion" in said


def test_files_steps_and_names_in_fields_are_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABLATE_HOME", str(tmp_path / "home"))
    assert completion.steps("") == []
    (tmp_path / "home/logs/prealign-sam-aaaa").mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.yaml").touch()
    (tmp_path / "mine" / "b.txt").touch()
    assert completion.studies("mi")[-1] == "mine/"
    assert completion.studies("mine/") == ["mine/a.yaml"]
    assert completion.steps("pre") == ["prealign/sam-aaaa"]
    assert completion.weights("sam") == ["sam-micro"]
    assert completion.compared("b") == ["base", "best"]
    started = "base.encoders=[clip-micro@32,"
    assert f"{started}sam-micro@128" in completion.changes(f"{started}sam-m")
    assert "explore.pool=[sam-micro@128" in completion.changes("explore.pool=[sam-m")
    assert completion.changes("base.fusion.name=channel") == ["base.fusion.name=channel_concat"]
    assert completion.changes("su") == ["suite="]
    assert completion.changes("no.field=x") == []


def test_a_study_stands_before_or_behind_its_candidates() -> None:
    assert ordered(["base", "best"]) == ("base", "best", "micro/rounds")
    assert ordered(["micro/fusion", "base", "best"]) == ("base", "best", "micro/fusion")
    assert ordered(["base", "best", "micro/fusion"]) == ("base", "best", "micro/fusion")
    assert ordered(["my/a.yaml", "base", "best"]) == ("base", "best", "my/a.yaml")
    for words, said in ((["base"], "takes two"), (["micro/fusion", "best"], "is a study")):
        with pytest.raises(UserError, match=said):
            ordered(words)


def test_a_wrong_study_or_candidate_is_told_with_the_nearest() -> None:
    assert "did you mean 'micro/fusion'?" in ablate("compare", "micro/fusoin", "base", "best").err


def test_the_plan_tells_seeds_and_what_failed(own_home: Path) -> None:
    said = ablate("plan", "micro/smoke").out
    assert "Seed 0: each candidate is trained once, so training noise is not measured." in said
    assert "12 steps: 0 cached, 12 to do" in said
    assert "Seeds 3, 4: each" in ablate("plan", "micro/smoke", "--set", "seeds=[3,4]").out

    study, store = load_study("micro/smoke"), Store(own_home)
    step = read_status(study, store).steps[0]
    error = {"type": "UserError", "message": "no luck"}
    store.fail(step, {"schema": 1, "key": step.key, "seconds": 1.0, "error": error})
    said = ablate("plan", "micro/smoke").out
    assert re.search(rf"{step.key[:12]} +prealign +\S+ +failed ", said)
    assert "12 steps: 0 cached, 1 failed, 11 to do" in said
    assert f"failed: prealign {step.slug}: no luck" in said
    told = json.loads(ablate("plan", "micro/smoke", "--json").out)
    assert told["seeds"] == [0]
    assert [one["state"] for one in told["steps"]].count("failed") == 1
