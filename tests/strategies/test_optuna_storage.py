"""What Optuna leads is shown as it goes, in a file or a database, and shared between drivers."""

import json
import operator
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import core_fakes
import pytest
from in_process import ablate, faked
from optuna_toys import PRUNED, made, run, sets, trials, words, worth
from strategy_toys import Scores, played

from ablate.search.explore import rounds_so_far
from ablate.search.optuna_log import TrialLog
from ablate.worker.context import StepContext

pytestmark = pytest.mark.usefixtures("few_draws")


def test_trials_are_shown_as_they_go_with_what_they_are_worth_on_the_way(tmp_path: Path) -> None:
    study, scores = made(**PRUNED), Scores()
    with closing(TrialLog(study, tmp_path)) as log:
        turns = rounds_so_far(study, scores)
        log.write(turns, scores)
        assert {one.state.name for one in trials(tmp_path)} == {"RUNNING"}
        assert len(trials(tmp_path)) == 4
        one, other, *_ = turns[0].candidates
        scores.known |= {one.name: 40.0, other.name: "the loss is NaN"}
        log.write(rounds_so_far(study, scores), scores)
        first, second, *_ = trials(tmp_path)
        assert (first.state.name, first.intermediate_values) == ("RUNNING", {25: 40.0})
        assert second.state.name == "FAIL"
        assert second.user_attrs["error"] == "finetune: the loss is NaN"
        log.write(played(study, worth, scores), scores)
    found = trials(tmp_path)
    assert {one.state.name for one in found} == {"COMPLETE", "PRUNED", "FAIL"}
    for trial in found:
        if trial.state.name == "COMPLETE":
            assert sorted(trial.intermediate_values) == [25, 50, 100]
            assert trial.values == [trial.intermediate_values[100]]
            assert trial.distributions.keys() == study.strategy.view.distributions().keys()  # type: ignore[union-attr]


@pytest.mark.usefixtures("unreported")
def test_a_database_shows_the_same_and_is_filled_again_where_it_was_lost(own_home: Path) -> None:
    where = {"storage": "sqlite:///trials.db"}
    assert run(**where).code == 0
    address = "sqlite:///FOLDER/trials.db"
    found = [one.values for one in trials(own_home, address)]
    assert len(found) == 6
    (file,) = own_home.glob("studies/**/trials.db")
    file.unlink()
    before = core_fakes.executed(own_home)
    assert run(**where).code == 0
    assert [one.values for one in trials(own_home, address)] == found
    assert core_fakes.executed(own_home) == before


@pytest.mark.usefixtures("unreported")
def test_a_database_that_holds_another_homes_study_is_left_as_it_is(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"storage": f"sqlite:///{tmp_path}/shared.db"}
    assert run(**where).code == 0
    monkeypatch.setenv("ABLATE_HOME", str(tmp_path / "second"))
    refused = run(**where)
    assert refused.code == 2
    assert "none of this home's" in refused.err
    assert not core_fakes.executed(tmp_path / "second")


@pytest.mark.usefixtures("unreported")
def test_a_database_that_goes_away_meanwhile_is_told_of_once_and_nothing_stops(
    own_home: Path,
) -> None:
    def evaluate(ctx: StepContext) -> dict[str, Any]:
        for file in own_home.glob("studies/**/trials.db"):
            file.write_bytes(b"no database" * 1000)
        return core_fakes.evaluate(ctx)

    words = sets(storage="sqlite:///trials.db")
    with faked({**core_fakes.EXECUTORS, "evaluate": evaluate}):
        done = ablate("run", "micro/smoke", *words, "--backend", "inline")
    assert done.code == 0, done.err
    assert (done.out + done.err).count("it is asked again now and then") == 1
    assert len(json.loads(ablate("table", "micro/smoke", *words, "--json").out)["rows"]) == 6


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql://me:$SECRET_WORD@127.0.0.1:1/trials",
        "sqlite:////no/such/folder/trials.db",
        "sqlite:///$NO_SUCH_VARIABLE",
    ],
)
def test_a_storage_that_cannot_be_reached_is_one_line_before_anything_runs(
    own_home: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_WORD", "hunter22")
    done = run(storage=storage)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("ablate: explore.storage: ")
    assert "hunter22" not in done.err + done.out
    assert not core_fakes.executed(own_home, "begin")


def test_several_objectives_have_a_front_in_table_and_report(own_home: Path) -> None:
    fields: dict[str, Any] = {
        "objectives": {"score": "maximize", "visual_tokens": "minimize", "gpu_hours": "minimize"},
        "sampler": {"name": "nsgaii", "population_size": 4},
    }
    done = run(**fields)
    assert done.code == 0, done.err
    table = json.loads(ablate("table", "micro/smoke", *sets(**fields), "--json").out)
    rows = table["rows"]
    assert len(rows) == 6
    front = [row for row in rows if row["front"] == "front"]
    worth = [(row["score"], -row["visual_tokens"], -row["gpu_hours"]) for row in rows]
    for row, own in zip(rows, worth, strict=True):
        better = [one for one in worth if one != own and all(map(operator.ge, one, own))]
        assert bool(better) == (row not in front)
    assert "On the front of score, visual tokens and gpu hours" in table["notes"][0]
    report = Path(done.out.splitlines()[-1].removeprefix("report: ")).parent
    results = (report / "results.html").read_text()
    assert "On the front of score" in results
    assert results.count("<td>front</td>") == len(front)
    (first, *_) = trials(own_home)
    assert first.values == [rows[0][name] for name in fields["objectives"]]


LIVE: dict[str, Any] = {
    "n_trials": 6,
    "parallel": 2,
    "sampler": {"name": "tpe", "n_startup_trials": 2},
    "budgets": [{"stages": {"finetune": 0.5}}, {}],
    "pruner": {"name": "median", "n_startup_trials": 1},
}
DRIVE = """
import sys, core_fakes
from pathlib import Path
from ablate.config.study import load_study
from ablate.driver.scheduler import drive
home, backend, *sets = sys.argv[1:]
study = load_study("micro/smoke", sets)
drive(study, backend=backend, jobs=2, home=Path(home), executors=core_fakes.EXECUTORS)
"""


def driver(home: Path, fields: dict[str, Any], backend: str = "local") -> "subprocess.Popen[bytes]":
    line = [sys.executable, "-c", DRIVE, str(home), backend, *words(**fields)]
    return subprocess.Popen(line)


def decisions(home: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in home.glob("**/round-*.json")}


@pytest.fixture
def alone(tmp_path: Path, fakes: object) -> Path:
    """A home in which the study of `LIVE` ran undisturbed."""
    home = tmp_path / "alone"
    assert driver(home, LIVE, "inline").wait(timeout=120) == 0
    return home


@pytest.mark.slow  # test_killed_searches has the same without a database
def test_killed_and_started_again_or_driven_by_two_it_tries_and_decides_the_same(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "killed"
    monkeypatch.setenv("FAKE_SECONDS", "0.2")
    one = driver(home, LIVE)
    deadline = time.monotonic() + 60
    while len(decisions(home)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    one.send_signal(signal.SIGKILL)
    one.wait()
    monkeypatch.setenv("FAKE_SECONDS", "0")
    both = [driver(home, LIVE), driver(home, LIVE)]
    assert [each.wait(timeout=120) for each in both] == [0, 0]
    assert decisions(home) == decisions(alone)
    done = core_fakes.executed(home)
    assert len(done) == len(set(done))
    assert sorted(done) == sorted(core_fakes.executed(alone))
    shown = [(one.params, one.state, one.values) for one in trials(home)]
    assert shown == [(one.params, one.state, one.values) for one in trials(alone)]
    assert len(shown) == 6
