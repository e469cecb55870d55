"""Steps in this process, one after the other."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ablate.launch.protocol import Drive, Job
from ablate.store.steps import Step
from ablate.worker.outcome import Outcome
from ablate.worker.run import run_chain


class Here:
    """A chain that is done in this process, when it is first asked for."""

    def __init__(self, run: Callable[[], Outcome]) -> None:
        self.run = run

    def poll(self) -> Outcome:
        return self.run()


class InProcess:
    """Chains in this process, one after the other."""

    slots = 1
    pause = 0.1  # it waits only for what another driver has at hand
    notice = ""

    def __init__(self, drive: Drive) -> None:
        self.drive = drive

    def start(self, chains: Sequence[Sequence[Step]]) -> Sequence[Here]:
        run = partial(run_chain, where=self.drive.where, executors=self.drive.executors)
        return [Here(partial(run, self.drive.home, chain)) for chain in chains]

    def adopt(self, drive: Path) -> Mapping[str, Job]:
        return {}

    def close(self) -> bool:
        return True
