"""Rounds 1 to 3 of the micro study on three nodes: whatever happens, the table is the local one.

ROUNDS=full runs the study as it is shipped. What befalls it is drawn from a seed that is printed;
set CHAOS_SEED to have the same faults in the same order.
"""

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from chaos import FAULTS, Chaos
from loopback import Loopback, command_of
from rounds import SECONDS, STEPS, records, results

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(4 * SECONDS)]


def test_chaos_changes_nothing(
    loopback: Loopback, undisturbed: dict[str, Any], own_home: Path
) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    print(f"CHAOS_SEED={seed}")
    chaos = Chaos(loopback, own_home, seed)
    chaos.run(2 * SECONDS)
    for kind in FAULTS:
        print(f"{chaos.struck[kind.__name__]:3} {kind.__name__}")
    print(f"{chaos.struck.total():3} in all; time was over for {', '.join(chaos.limited)}")
    assert results(own_home) == undisturbed
    assert chaos.committed == records(own_home)
    assert len(chaos.committed) == STEPS
    assert_done_once(own_home)
    assert_tidy(loopback, own_home)
    assert chaos.struck.total() >= 0.9 * sum(FAULTS.values())
    assert chaos.limited.keys() & loopback.timed_out()  # once Slurm has looked


def assert_done_once(home: Path) -> None:
    """Nobody worked at a step once it was committed: no log of an attempt is younger.

    A worker that Slurm ends as its time is over held still for up to half a minute, and says so.
    """
    for record in home.glob("store/*/*/record.json"):
        kind, name = record.parts[-3:-1]
        committed = record.stat().st_mtime
        for log in home.glob(f"logs/{kind}-{name}/*.log"):
            assert log.stat().st_mtime <= committed + 35, f"{log} goes on after the commit"


def assert_tidy(cluster: Loopback, home: Path) -> None:
    """Nothing half done is left, nothing in the queue, no process; some take their time to end."""
    for folder in ("work", "leases", "failed", "quarantine", "drives"):
        assert [path for path in home.glob(f"{folder}/**/*") if path.is_file()] == []
    deadline = time.monotonic() + 300  # Slurm asks a node again after a minute
    while (jobs := cluster.queue()) or cluster.processes("ABLATE_HOME", str(home)):
        left = [command_of(pid) for pid in cluster.processes("ABLATE_HOME", str(home))]
        assert time.monotonic() < deadline, (jobs, left)
        time.sleep(0.5)
