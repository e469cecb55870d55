"""Jobs of several processes on this machine, as a backend starts them: all the worker does, too."""

import json
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from forks import codes, forked
from training_toys import Context

import ablate.encoders.clip
import ablate.train.stage  # noqa: F401  # once, before a fork, and not in each process
from ablate.store.artifacts import Store
from ablate.store.steps import Step
from ablate.worker.context import RunContext
from ablate.worker.outcome import Outcome
from ablate.worker.process_group import ProcessGroup
from ablate.worker.run import EXECUTORS, follow, run_chain

with suppress(ImportError):  # likewise, in the environment that has it
    import deepspeed  # noqa: F401
    import torch._inductor.compile_fx  # which its engine imports when it begins


def nothing(task: int) -> None:
    """Prepares no process."""


@dataclass(frozen=True)
class Job:
    """A step, done below `home` by `tasks` processes after its parents and the steps `before` it.

    They take themselves for those of so many `nodes`; `prepare` is called in each of them.
    """

    ctx: Context
    home: Path
    tasks: int
    infra: dict[str, Any]
    prepare: Callable[[int], None] = nothing
    nodes: int = 1
    before: tuple[Step, ...] = ()
    parents: dict[str, Step] = field(default_factory=dict)

    @property
    def step(self) -> Step:
        return Step(self.ctx.step_kind, "step", self.ctx.spec, self.parents)

    @property
    def artifact(self) -> Path:
        return Store(self.home).folder(self.step)

    @property
    def work(self) -> Path:
        return Store(self.home).work(self.step)

    def rows(self, folder: Path | None = None) -> list[dict[str, Any]]:
        """What was logged of each optimiser step."""
        text = ((folder or self.artifact) / "metrics.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def log(self) -> str:
        """What the processes printed."""
        return "".join(path.read_text() for path in sorted(self.home.glob("logs/*/*.log")))

    def start(self) -> list[int]:
        """The processes, begun."""
        if not self.home.exists():  # what is prepared of the data is shared with other tests
            self.home.mkdir()
            (self.ctx.home / "data").mkdir(exist_ok=True)
            (self.home / "data").symlink_to(self.ctx.home / "data")
        answer = self.home / "outcome.json"
        answer.unlink(missing_ok=True)
        return [forked(partial(self._process, task, answer)) for task in range(self.tasks)]

    def run(self) -> Outcome:
        """How it ended; `lost` if its first process died without a word. All have ended then."""
        ends = codes(self.start())
        answer = self.home / "outcome.json"
        if not answer.exists():
            assert ends[0] != 0, self.log()
            return Outcome("lost", f"exit codes {ends}")
        return Outcome(**json.loads(answer.read_text()))

    def done(self) -> "Job":
        """Run, to the end."""
        outcome = self.run()
        assert outcome.status == "done", f"{outcome.message}\n{self.log()}"
        return self

    def with_(self, **changes: Any) -> "Job":
        """The same step in the same home in another way."""
        return replace(self, **changes)

    def _process(self, task: int, answer: Path) -> None:
        torch.set_num_threads(1)  # the parent's threads are not there after a fork
        signal.signal(signal.SIGTERM, _stop)
        self.prepare(task)
        team = ProcessGroup(task, self.tasks, self.nodes)
        shape = {"devices": self.tasks // self.nodes, "nodes": self.nodes}
        where = RunContext("cpu", {**shape, **self.infra}, whole_process=True)
        team.meet(self.home / "team")
        if team.leads:
            steps = [*self.before, *self.parents.values(), self.step]
            outcome = run_chain(self.home, steps, where, EXECUTORS, team, answer)
            team.close(in_order=outcome.status == "done")
        else:
            follow(self.home, where, EXECUTORS, team)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
