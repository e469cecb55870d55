"""A training that is interrupted goes on to the same weights; drivers that know nothing of each
other, or of the time, do every step once."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import core_fakes
import pytest
from loopback import MACHINES, Loopback
from rounds import Driver, checksums, run

from ablate.files import read_json

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

ONE = [
    "explore.rounds=1",
    "base.recipe.prealign=null",
    "base.recipe.finetune.steps=60",
    "infra.checkpoint_every_steps=7",
]
"""One candidate, of which fine-tuning takes a while."""


@pytest.fixture(scope="module")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of a fine-tuning that nothing happens to, weights and loss curve, by checksum."""
    home = tmp_path_factory.mktemp("smooth")
    Driver(home, {}, run("local", *ONE)).finish()
    return checksums(finetuned(home))


def finetuned(home: Path) -> Path:
    [folder] = home.glob("store/finetune/*")
    return folder


def out_of_time(cluster: Loopback, job: str, node: str) -> None:
    """By Slurm's own limit, of which it gives notice: USR2."""
    assert cluster.end_time(job)
    until(lambda: job in cluster.timed_out(), 240)


def thrown_out(cluster: Loopback, job: str, node: str) -> None:
    """Preempted where Slurm gives no notice: SIGTERM, and in a few seconds SIGKILL."""
    assert cluster.run("scontrol", "update", "PartitionName=scavenge", "GraceTime=0")
    first = ("sbatch", "--partition=main", "--gres=gpu:2", f"--nodelist={node}")
    assert cluster.run(*first, "--output=/dev/null", "--wrap=sleep 1")
    until(lambda: job not in [one.number for one in cluster.queue()], 240)
    assert cluster.run("scontrol", "update", "PartitionName=scavenge", "GraceTime=3")


def asked_to_end(cluster: Loopback, job: str, node: str) -> None:
    """A SIGTERM alone, which says nothing of the end: training goes on in the same process."""
    assert cluster.run("scancel", "--signal=TERM", job)


@pytest.mark.parametrize(
    ("interrupt", "restarts"), [(out_of_time, 1), (thrown_out, 1), (asked_to_end, 0)]
)
def test_an_interrupted_training_ends_with_the_same_weights_and_curve(
    loopback: Loopback,
    smooth: dict[str, str],
    own_home: Path,
    interrupt: Callable[[Loopback, str, str], None],
    restarts: int,
) -> None:
    driver = Driver(own_home, {}, run("slurm", *ONE))
    until(lambda: [*own_home.glob("work/finetune/**/checkpoint/*/*.safetensors")], 240)
    [job] = loopback.queue()
    interrupt(loopback, job.number, job.node)
    driver.finish(300)
    record = read_json(finetuned(own_home) / "record.json")
    assert record["restarts"] == restarts
    found = checksums(finetuned(own_home))
    assert {**found, "record.json": ""} == {**smooth, "record.json": ""}


@pytest.mark.parametrize("off", [3600, -3600])
def test_drivers_that_do_not_know_of_each_other_do_every_step_once(
    own_home: Path, off: int
) -> None:
    """One is killed; of two that come after it, the clock of one is wrong, as of two nodes."""
    calm = fakes(own_home / "calm", {}, "inline")
    calm.finish()
    home = own_home / "shaken"
    slow = {"FAKE_SECONDS": "2", "CLOCK_OFF": "0"}
    first = fakes(home, slow, "slurm")
    until(lambda: core_fakes.executed(home, "begin"))
    later = [fakes(home, {**slow, "CLOCK_OFF": str(off)}, "slurm"), fakes(home, slow, "slurm")]
    first.kill()
    for driver in later:
        driver.finish(240)
        assert json.loads(driver.printed.read_text()) == json.loads(calm.printed.read_text())
    begun = core_fakes.executed(home, "begin")
    assert len(begun) == 12
    assert len(set(begun)) == 12


def fakes(home: Path, environment: Mapping[str, str], backend: str) -> Driver:
    """A driver of a small study whose steps are done by fakes."""
    script = Path(core_fakes.__file__).with_name("drive_fakes.py")
    return Driver(home, {**MACHINES, **environment}, [str(script), str(home), backend, "3"])


def until(condition: Callable[[], Any], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)
