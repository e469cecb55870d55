"""`ablate clean` removes what candidates that were given up left, and nothing that is of use."""

import json
import shutil
from pathlib import Path

import core_fakes
import pytest
from in_process import ablate

from ablate.commands.clean import given_up
from ablate.config.study import Study, load_study
from ablate.driver.scheduler import drive
from ablate.search.explore import rounds_so_far
from ablate.store.artifacts import Store
from ablate.store.results import StoredResults

EXPLORE = {
    "kind": "halving",
    "pool": ["sam-micro"],
    "rungs": [{"stages": {"finetune": 0.5}, "keep": 1}, {"keep": 1}],
}
CHANGES = ("--set", f"explore={json.dumps(EXPLORE)}", "--set", "seeds=[0]")


@pytest.fixture
def study(own_home: Path) -> Study:
    """Two mixtures, one of them dropped after half of its training, and what each half left."""
    study = load_study("micro/rounds", CHANGES[1::2])
    drive(study, backend="inline", home=own_home, executors=core_fakes.EXECUTORS)
    store = Store(own_home)
    results = StoredResults(store, study)
    for candidate in rounds_so_far(study, results)[0].candidates:
        folder = store.prefix(results.steps(candidate)[-2]) / "40"
        folder.mkdir(parents=True)
        (folder / "state").write_bytes(bytes(2**20))
    return study


def test_what_candidates_left_that_were_given_up_goes(study: Study, own_home: Path) -> None:
    before = ablate("table", "micro/rounds", *CHANGES)
    told = ablate("clean", "micro/rounds", *CHANGES, "-n")
    assert told.code == 0
    assert told.out.count("would remove") == 2
    assert len(list(own_home.glob("prefixes/finetune/*/*/state"))) == 2
    told = ablate("clean", "micro/rounds", *CHANGES)
    assert told.out.count("(1.0 MiB)") == 2
    assert "2.0 MiB in all" in told.err
    assert not list(own_home.glob("prefixes/finetune/*"))
    assert ablate("table", "micro/rounds", *CHANGES) == before
    assert "nothing" in ablate("clean", "micro/rounds", *CHANGES).err


def test_what_a_candidate_may_go_on_from_stays(study: Study, own_home: Path) -> None:
    store = Store(own_home)
    results = StoredResults(store, study)
    last = rounds_so_far(study, results)[-1].candidates[0]
    trained, scored = results.steps(last)[-2:]
    aside = own_home / "aside"
    store.folder(trained).rename(aside)
    assert store.prefix(trained) not in given_up(study, store)
    assert len(given_up(study, store)) == 1
    aside.rename(store.folder(trained))
    shutil.rmtree(store.folder(scored))
    assert given_up(study, store) == []
