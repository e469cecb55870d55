"""Kill what runs at any moment and start again: the same table, and nothing finished done again.

The moments are drawn from a seed that is printed; set CHAOS_SEED to replay one.
"""

import os
import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import core_fakes
import pytest
from drivers import finish, kill, said, start, until, workers

from ablate.config.study import Study
from ablate.driver.scheduler import drive


def committed(home: Path) -> dict[str, bytes]:
    """Every record in the store; a step that is done again would have another."""
    paths = (home / "store").glob("*/*/record.json")
    return {str(path.parent.name): path.read_bytes() for path in paths}


@pytest.fixture
def undisturbed(
    small: Study, fakes: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The decisions of the study when nothing goes wrong; from here on steps take a while."""
    rounds = drive(small, backend="inline", home=tmp_path / "calm", executors=fakes)
    monkeypatch.setenv("FAKE_SECONDS", "0.2")
    return [turn.decision.to_json() for turn in rounds if turn.decision]


@pytest.mark.slow
def test_kills_at_random_moments_change_nothing(undisturbed: Any, own_home: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    print(f"CHAOS_SEED={seed}")
    chance = random.Random(seed)
    seen: dict[str, bytes] = {}
    for _ in range(5):
        driver = start(own_home)
        time.sleep(chance.uniform(0.3, 3.0))
        victims = [process.pid for process in workers(own_home)] + [driver.pid]
        for pid in chance.sample(victims, chance.randint(1, len(victims))):
            os.kill(pid, signal.SIGKILL)
        time.sleep(chance.uniform(0, 0.5))
        kill(driver)
        now = committed(own_home)
        assert seen.items() <= now.items()
        seen = now
    assert finish(start(own_home)) == undisturbed
    assert seen.items() <= committed(own_home).items()


def test_workers_killed_under_a_living_driver_change_nothing(
    undisturbed: Any, own_home: Path
) -> None:
    driver = start(own_home)
    for _ in range(2):
        until(lambda: workers(own_home))
        time.sleep(0.3)
        for process in workers(own_home):
            os.kill(process.pid, signal.SIGKILL)
    assert finish(driver) == undisturbed


def test_two_drivers_at_once_do_every_step_once(undisturbed: Any, own_home: Path) -> None:
    drivers = [start(own_home), start(own_home, "inline")]
    assert [finish(driver) for driver in drivers] == [undisturbed] * 2
    begun = core_fakes.executed(own_home, "begin")
    assert sorted(begun) == sorted(set(begun))
    assert len(begun) == 12


@pytest.mark.slow  # the next test has the same in one slot, and asks for more
def test_a_workers_step_outlives_its_driver_and_the_next_one_waits_for_it(
    undisturbed: Any, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "3")
    driver = start(own_home, jobs=1)
    until(lambda: core_fakes.executed(own_home, "begin"))
    kill(driver)
    assert workers(own_home)
    monkeypatch.setenv("FAKE_SECONDS", "0.1")
    assert finish(start(own_home)) == undisturbed
    begun = core_fakes.executed(own_home, "begin")
    assert sorted(begun) == sorted(set(begun))
    until(lambda: not workers(own_home))


def test_no_step_begins_on_the_device_of_a_worker_whose_driver_was_killed(
    undisturbed: Any, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "3")
    driver = start(own_home, jobs=1)
    until(lambda: core_fakes.executed(own_home, "begin"))
    (orphan,) = workers(own_home)
    kill(driver)
    monkeypatch.setenv("FAKE_SECONDS", "0.1")
    again = start(own_home, jobs=1)
    assert finish(again) == undisturbed
    turns = [line.split()[0] for line in (own_home / "executed.log").read_text().splitlines()]
    assert turns == ["begin", "end"] * 12
    assert not orphan.runs()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_end_the_workers_too(
    undisturbed: Any, own_home: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    driver = start(own_home)
    until(lambda: core_fakes.executed(own_home, "begin"))
    left = workers(own_home)
    os.killpg(driver.pid, number)  # as the terminal does
    assert driver.wait(timeout=240) == code
    assert left
    assert not any(process.runs() for process in left)
    assert said(driver, ".err") == ""
    monkeypatch.setenv("FAKE_SECONDS", "0")
    assert finish(start(own_home, "inline")) == undisturbed
