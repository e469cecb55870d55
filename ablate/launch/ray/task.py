"""What a Ray job runs: `python -m ablate.launch.ray.task CALL [RANK]`, a chain, driver or probe.

Ray starts one process a job, which begins the others that its steps ask for.
"""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from ablate.store.steps import Step
from ablate.worker.context import RunContext
from ablate.worker.process_group import ProcessGroup
from ablate.worker.run import TOLD_TO_GO, Executors, follow, run_chain


class Chain:
    """A chain of steps, on `devices` processes; the first leaves the outcome at `answer`."""

    def __init__(
        self,
        home: Path,
        steps: Sequence[Any],
        where: RunContext,
        executors: Executors,
        answer: Path,
        devices: int,
    ) -> None:
        self.home, self.steps, self.where = str(home), list(steps), where
        self.executors, self.answer, self.devices = dict(executors), str(answer), devices

    def __call__(self, rank: int) -> None:
        _listen()
        if rank == 0:
            for other in range(1, self.devices):
                subprocess.Popen([sys.executable, "-m", __spec__.name, sys.argv[1], str(other)])
        home, answer = Path(self.home), Path(self.answer)
        try:
            team = ProcessGroup(rank, self.devices)
            team.meet(answer.with_suffix(".team"))
            if not team.leads:
                return follow(home, self.where, self.executors, team)
            steps = [Step.from_json(step) for step in self.steps]
            run_chain(home, steps, self.where, self.executors, team, answer)
            return team.close(in_order=True)
        except KeyboardInterrupt:
            os._exit(128 + signal.SIGTERM)  # at once: libraries' exit handlers may hang after this


def _listen() -> None:
    """SIGTERM, by which Ray stops a job three seconds before it kills it, gives the step back."""
    me = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() == me:
            TOLD_TO_GO.set()
            raise KeyboardInterrupt
        os._exit(128 + number)  # a forked data loader inherits this handler

    signal.signal(signal.SIGTERM, stop)


def main(path: Path, rank: int) -> None:
    """Call what lies at `path`, which the user's own driver has just written."""
    with path.open("rb") as file:
        call = pickle.load(file)
    call(rank)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 0)
