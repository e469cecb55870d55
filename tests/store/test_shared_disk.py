"""Workers on a shared file system that lags, fails and forgets: every step is done, and once.

A failure names its seed: `SHARED_DISK_SEED=N` plays that schedule alone, and
`SHARED_DISK_SCHEDULES=N` plays so many (default: 300, of which `make test` plays the first 50).
"""

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import core_fakes
import pytest
from shared_disk import Chances, Cluster, Machine, unkind

from ablate.config.study import Study
from ablate.driver.scheduler import drive
from ablate.files import write_atomic
from ablate.store.artifacts import Store
from ablate.store.lease import PATIENCE
from ablate.store.steps import Step
from ablate.worker.context import RunContext, StepContext
from ablate.worker.run import run_chain

FIRST = Step("pretrain", "first", {"n": 1})
SECOND = Step("finetune", "second", {"n": 2}, {"pretrain": FIRST})
STEPS, PARTS = [FIRST, SECOND], ("a", "b", "c")
SCHEDULES = int(os.environ.get("SHARED_DISK_SCHEDULES", "300"))
ONE = os.environ.get("SHARED_DISK_SEED")
FEW = min(50, SCHEDULES)
PLAYED = [range(FEW), pytest.param(range(FEW, SCHEDULES), marks=pytest.mark.slow)]
if ONE:
    PLAYED = [range(int(ONE), int(ONE) + 1)]
UNKIND = Chances(kill=0.003, stop=0.004, seconds=100, repeat=0.01, fail=0.004, lag=60)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder in memory where there is one: nothing here is about a disk's own speed."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


class Played:
    """One schedule: how often each step was begun and ended, and how its workers fared."""

    def __init__(self, home: Path, seed: int, chances: Chances, machines: int) -> None:
        self.home, self.cluster = home, Cluster(home, seed, chances)
        self.begun: Counter[str] = Counter()
        self.said: Counter[str] = Counter()
        self.machines = machines

    def run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with unkind(self.cluster, monkeypatch):
            self.cluster.run({f"machine {n}": self._work for n in range(self.machines)})

    def _work(self, machine: Machine) -> None:
        executors = dict.fromkeys(("pretrain", "finetune"), self._execute)
        while True:
            outcome = run_chain(self.home, STEPS, RunContext(), executors)
            self.said[outcome.message or outcome.status] += 1
            if outcome.status == "done":
                return
            assert outcome.status in {"busy", "lost"}, outcome
            self.cluster.sleep(1)

    def _execute(self, ctx: StepContext) -> dict[str, Any]:
        name = ctx.work.name
        assert name not in self.cluster.committed, f"{name} is done already"
        self.begun[name] += 1
        for part in PARTS:
            ctx.progress(0, 1)
            path = ctx.work / "parts" / part
            if not path.exists():
                write_atomic(path, f"{name} {part}")
                self.cluster.sleep(self.cluster.chance.uniform(0, 20))
        return {}

    def check(self) -> None:
        """Each step was committed once, whole, and nothing is left of its making."""
        names = [step.dirname for step in STEPS]
        assert sorted(self.cluster.committed) == sorted(names)
        for step in STEPS:
            folder = Store(self.home).verified(step)
            for part in PARTS:
                assert (folder / "parts" / part).read_text() == f"{step.dirname} {part}"
            assert Store(self.home).failure(step) is None
        assert not (self.home / "quarantine").exists()


def play(disk: Path, monkeypatch: pytest.MonkeyPatch, seed: int, chances: Chances) -> Played:
    home = disk / f"{seed}"
    home.mkdir()
    played = Played(home, seed, chances, 2 + seed % 3)
    try:
        played.run(monkeypatch)
        played.check()
    except BaseException as error:
        raise AssertionError(f"SHARED_DISK_SEED={seed}: {error!r}") from error
    shutil.rmtree(home)
    return played


@pytest.mark.parametrize("seeds", PLAYED, ids=str)
def test_whatever_happens_every_step_is_committed_once_and_none_is_lost(
    seeds: range, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: Counter[str] = Counter()
    for seed in seeds:
        said += play(disk, monkeypatch, seed, UNKIND).said
    print(said)
    if not ONE:  # the schedules are worth something
        assert said["another worker took it over"] > len(seeds) / 20
        assert said["another worker has it"] > len(seeds)


def test_a_slow_owner_keeps_its_step_and_does_it_once(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Chances(stop=0.02, seconds=PATIENCE * 0.8, lag=60)
    for seed in range(SCHEDULES // 10):
        played = play(disk, monkeypatch, seed, slow)
        assert played.begun == Counter(step.dirname for step in STEPS)
        assert not played.said["another worker took it over"]


def test_the_cluster_is_not_kinder_than_it_says(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(disk, 1, Chances(lag=60))
    seen: list[bool] = []

    def one(machine: Machine) -> None:
        seen.append((disk / "new").exists())
        cluster.sleep(10)
        seen.append((disk / "new").exists())
        cluster.sleep(100)
        seen.append((disk / "new").exists())

    def other(machine: Machine) -> None:
        cluster.sleep(5)
        (disk / "new").mkdir()
        assert (disk / "new").exists()

    with unkind(cluster, monkeypatch):
        cluster.run({"one": one, "other": other})
    assert seen == [False, False, True]


def test_clocks_that_are_an_hour_off_change_nothing(
    small: Study, fakes: Mapping[str, str], own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = drive(small, backend="inline", home=own_home / "calm", executors=fakes)
    true = time.time
    for last, hours in ((1, 1), (2, -1)):
        monkeypatch.setattr(time, "time", lambda hours=hours: true() + 3600 * hours)
        rounds = drive(small, last, backend="inline", home=own_home / "off", executors=fakes)
    assert rounds == calm
    assert len(core_fakes.executed(own_home / "off")) == 12
