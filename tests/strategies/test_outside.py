"""A strategy of another package runs a study to its report; one with a mistake loses nothing."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import core_fakes
import optuna
import pytest
import strategy_toys
from in_process import Answer, ablate, faked
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from ablate.config.study import load_study
from ablate.search.explore import rounds_so_far
from ablate.strategies import Decision

EXPLORE = "explore={kind: backward, pool: [pix2struct-micro, convnext-micro], rounds: 3}"
OF_SMOKE = ("--set", EXPLORE, "--set", "seeds=[0]")
WHOLE = "clip-micro@32+pix2struct-micro@128+convnext-micro@128"
LESS = "clip-micro@32+pix2struct-micro@128"  # by the fakes' scores convnext is missed least


def on_smoke(command: str, *words: str) -> Answer:
    """A command with that study; steps are done by fakes."""
    with faked(core_fakes.EXECUTORS):
        return ablate(command, "micro/smoke", *OF_SMOKE, *words)


@pytest.fixture(scope="module")
def ran(theirs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the study once it ran."""
    home = tmp_path_factory.mktemp("ran")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATE_HOME", str(home))
        patch.setattr("ablate.commands.report.build", lambda study: "nowhere")
        done = on_smoke("run", "--backend", "inline")
    assert done.code == 0, done.err
    assert LESS in done.out
    return home


@pytest.fixture
def home(ran: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ABLATE_HOME", str(ran))
    return ran


def test_it_is_listed_and_planned_and_its_name_nearly_right_is_told(
    theirs: Path, own_home: Path
) -> None:
    listed = ablate("list", "strategies").out
    assert "backward    pool, rounds" in listed
    assert "Backward elimination: round 1 is the base with all of the pool" in listed
    planned = on_smoke("plan").out
    assert WHOLE in planned
    assert "if the first of the pool is missed least" in planned
    wrong = ablate("plan", "micro/smoke", "--set", "explore.kind=bakward")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err == (
        "ablate: --set explore.kind=bakward: explore.kind: no strategy 'bakward'; did you mean "
        "'backward'?\n"
    )


def test_what_it_may_use_is_what_fetch_looks_for(theirs: Path) -> None:
    study = load_study("micro/smoke", [EXPLORE])
    assert study.shelf == tuple(WHOLE.split("+"))


def test_its_table_names_the_winners_and_what_each_candidate_drops(home: Path) -> None:
    rows = json.loads(on_smoke("table", "--json").out)["rows"]
    assert [(row["round"], row["candidate"]) for row in rows if row["mark"] == "winner"] == [
        (1, WHOLE),
        (2, LESS),
        (3, "clip-micro@32"),
    ]
    assert [row["round"] for row in rows] == [1, 2, 2, 3]
    status = json.loads(on_smoke("status", "--json").out)
    assert status["complete"]
    assert [turn["decision"]["winner"] for turn in status["rounds"]] == [
        WHOLE,
        LESS,
        "clip-micro@32",
    ]
    assert "survivors" not in status["rounds"][1]["decision"]  # as decisions always were


def test_its_report_holds_candidates_against_the_winner_before_and_names_its_package(
    home: Path,
) -> None:
    done = on_smoke("report")
    assert done.code == 0, done.err
    report = Path(done.out.strip().removeprefix("report: ")).parent
    index = (report / "index.html").read_text()
    assert "backward: their-strategies 0.1 (" in index
    results = (report / "results.html").read_text()
    assert "- convnext-micro@128" in results
    assert "Against previous winner" in results
    assert results.count("<h2>Round ") == 3


def test_its_candidates_are_trials_of_an_optuna_study(home: Path) -> None:
    (journal,) = home.glob("studies/**/optuna.journal")
    storage = JournalStorage(JournalFileBackend(str(journal)))
    trials = optuna.load_study(study_name="micro/smoke", storage=storage).trials
    assert [trial.params["round"] for trial in trials] == [1, 2, 2, 3]
    dropped = [trial for trial in trials if not trial.params["convnext-micro@128"]]
    assert [trial.user_attrs["won"] for trial in dropped] == [True, True]
    assert all(trial.params["clip-micro@32"] for trial in trials)


DRIVE = f"""
import sys, core_fakes
from pathlib import Path
from ablate.config.study import load_study
from ablate.driver.scheduler import drive
study = load_study("micro/smoke", [{EXPLORE!r}, "seeds=[0]"])
drive(study, backend="inline", home=Path(sys.argv[1]), executors=core_fakes.EXECUTORS)
"""


def decisions(home: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in home.glob("**/round-*.json")}


@pytest.mark.slow
def test_killed_at_random_moments_it_decides_the_same(
    ran: Path, theirs: Path, tmp_path: Path, fakes: Mapping[str, str]
) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    print(f"CHAOS_SEED={seed}")
    chance, home = random.Random(seed), tmp_path / "killed"
    toys = os.environ["PYTHONPATH"]
    path = os.pathsep.join([str(theirs.parents[1]), toys])
    slow = {**os.environ, "PYTHONPATH": path, "FAKE_SECONDS": "0.1"}
    for _ in range(4):
        driver = subprocess.Popen([sys.executable, "-c", DRIVE, str(home)], env=slow)
        time.sleep(chance.uniform(0.5, 2.5))
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    quick = {**slow, "FAKE_SECONDS": "0"}
    subprocess.run([sys.executable, "-c", DRIVE, str(home)], env=quick, check=True)
    assert len(decisions(home)) == 3
    assert decisions(home) == decisions(ran)


def broken(site: Path, module: str, patch: pytest.MonkeyPatch, *changes: tuple[str, str]) -> Path:
    """A package of that name whose strategy has these changes; its file."""
    strategy_toys.install(site, *changes, module=module)
    patch.syspath_prepend(site)
    return site / module / "backward.py"


IMPORTS = "from pydantic import PositiveInt\n"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (IMPORTS, f"import no_such_module\n{IMPORTS}", "be loaded: ModuleNotFoundError: No module"),
        (IMPORTS, f"{IMPORTS}1 / 0\n", "be loaded: ZeroDivisionError"),
        ("class Backward(", "class Forward(", "be loaded: AttributeError"),
        ("    def designs(", "    def drafts(", "be loaded: TypeError"),
        ("study.encoders(", "study.experts(", "check its fields: AttributeError"),
        ("self.pool)]", "self.pond)]", "propose round 1: AttributeError"),
        ("best.encoders if title", "best.encodings if title", "propose round 2: AttributeError"),
        ("if title != expert)", "if title == '')", "propose round 2: ValidationError"),
        ("    return {design.mixture: design", "    return {design.llm: design", "propose round 2"),
        (
            "    pool: Names\n",
            "    heading = differs_in = property(lambda self: self.pond)\n    pool: Names\n",
            "say how it is shown: AttributeError",
        ),
        (
            "    pool: Names\n",
            "    def label(self, *given):\n        return given[9]\n\n    pool: Names\n",
            "say how it is shown: IndexError",
        ),
        (
            "    pool: Names\n",
            "    noun = 3\n    pool: Names\n",
            "say how it is shown: TypeError: 3 is no text",
        ),
        (
            "else:\n            mixtures = [",
            "else:\n            mixtures = [('sam',)] + [",
            "shelf",
        ),
    ],
)
def test_a_strategy_with_a_mistake_is_one_line_that_names_package_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str
) -> None:
    module = f"broken_{crc32(f'{old} {new}'.encode())}"
    file = broken(tmp_path / "site", module, monkeypatch, (old, new))
    done = on_smoke("plan")
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert said in line
    assert f"strategy 'backward' of {module.replace('_', '-')} 0.1 cannot" in line
    assert str(file) in line


def test_a_strategy_that_fails_in_the_midst_of_a_run_loses_nothing(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mended, the study goes on from what was done."""
    fails = "else:\n            self.pool[bool(before[-1].decision) * 9]\n            mixtures"
    with monkeypatch.context() as patch:
        broken(tmp_path / "bad", "fails_late", patch, ("else:\n            mixtures", fails))
        done = on_smoke("run", "--backend", "inline")
    assert done.code == 2
    assert "cannot propose round 2: IndexError" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    before = core_fakes.executed(own_home)
    assert before
    broken(tmp_path / "good", "mended", monkeypatch)
    assert on_smoke("run", "--backend", "inline").code == 0
    after = core_fakes.executed(own_home)
    assert after[: len(before)] == before
    assert len(set(after)) == len(after)


def test_designs_of_several_rounds_may_stand_side_by_side(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then all are held against the first, where none of the first round is the base."""
    aside = ("    assumption =", '    goes_on = False\n    noun = "mixture"\n    assumption =')
    broken(tmp_path / "site", "side_by_side", monkeypatch, aside)
    done = on_smoke("run", "--backend", "inline")
    assert done.code == 0, done.err
    report = Path(done.out.splitlines()[-1].removeprefix("report: ")).parent
    results = (report / "results.html").read_text()
    assert f"Against {WHOLE}" in results
    assert all(f"candidates/{n:03}.html" in results for n in range(1, 5))
    assert "Every mixture&#39;s score" in (report / "index.html").read_text()
    rows = json.loads(on_smoke("table", "--json").out)["rows"]
    assert [row["candidate"] for row in rows if row["delta"] is None] == [WHOLE]


TWO = """    @property
    def keeps(self):
        return 2

    def most_rounds"""


def test_several_may_go_on_if_a_strategy_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(tmp_path / "site", "keeps_two", monkeypatch, ("    def most_rounds", TWO))
    a, b, c = pool = ["sam-micro@128", "eva02-micro@128", "dinov2-micro@64"]
    explore = f"explore={{kind: backward, pool: [{', '.join(pool)}], rounds: 3}}"
    study = load_study("micro/rounds", [explore, "seeds=[0]"])
    base = study.base.mixture
    lookup = strategy_toys.Scores(
        {f"{base}+{a}+{b}+{c}": 50.0}
        | {f"{base}+{b}+{c}": 51.0, f"{base}+{a}+{c}": 53.0, f"{base}+{a}+{b}": 52.0}
    )
    _, second, third = rounds_so_far(study, lookup)
    assert second.decision
    assert second.decision.survivors == (f"{base}+{a}+{c}", f"{base}+{a}+{b}")
    assert {one.name for one in third.candidates} == {f"{base}+{one}" for one in pool}
    stored = json.loads(json.dumps(second.decision.to_json()))
    assert Decision.from_json(stored) == second.decision
    alone = {name: value for name, value in stored.items() if name != "survivors"}
    assert Decision.from_json(alone).survivors == (second.decision.winner,)
    lookup.decisions[2] = alone  # of a time when it kept one
    assert rounds_so_far(study, lookup)[1].decision == second.decision
