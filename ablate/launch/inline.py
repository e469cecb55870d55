"""Steps in this process, one after the other."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ablate.launch.protocol import Job
from ablate.store.steps import Step
from ablate.worker.context import Place
from ablate.worker.outcome import Outcome
from ablate.worker.run import Executors, run_chain


class Here:
    """A chain that is done in this process, when it is first asked for."""

    def __init__(self, run: Callable[[], Outcome]) -> None:
        self.run = run

    def poll(self) -> Outcome:
        return self.run()


class Inline:
    """Chains in this process, one after the other."""

    slots = 1
    pause = 0.1  # it waits only for what another driver has at hand
    notice = ""

    def __init__(self, home: Path, place: Place, executors: Executors) -> None:
        self.home, self.place, self.executors = home, place, executors

    def start(self, chains: Sequence[Sequence[Step]]) -> Sequence[Here]:
        more = (self.place, self.executors)
        return [Here(partial(run_chain, self.home, chain, *more)) for chain in chains]

    def adopt(self, drive: Path) -> Mapping[str, Job]:
        return {}

    def close(self) -> bool:
        return True
