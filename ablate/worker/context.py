"""What a step is given: where it works, its parents, its processes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.config.infra import Infra
from ablate.files import write_atomic
from ablate.home import Home
from ablate.store.artifacts import Store
from ablate.store.canonical import canonical
from ablate.store.lease import Lease, LeaseLostError
from ablate.store.steps import Step, trained_roles
from ablate.worker.process_group import StepRanks


@dataclass(frozen=True)
class RunContext:
    """Where a chain runs. None of it is in a key.

    `device`: `cpu` or `cuda`; `infra`: the study's; `drive`: token of the driver that asked, kept
    in records of failure so that it does not try again; `whole_process`: whether all that the
    process prints belongs to the step, or (in the driver's own process) only what Python prints;
    `more_memory`: what to change where the machine's memory is not enough, as the launcher says.
    """

    device: str = "cpu"
    infra: Mapping[str, Any] = field(default_factory=dict)
    drive: str = ""
    whole_process: bool = False
    more_memory: str = "choose a machine with more memory"

    def of(self, kind: str) -> Infra:
        """How a kind of step runs."""
        return Infra.model_validate(self.infra).of(kind)


class StepContext:
    """What an executor is given: its inputs, the folder it fills, and whom to tell.

    `parents`: committed folders by role, and `annotated` those of annotators, whose words prompts
    show; `work`: the payload goes here, and whatever lets a later
    attempt go on; what lies in it at the end is the artifact. `infra`: how to run, never what.
    `world`: the processes that execute the step together, each with a context of its own. Only the
    leader has the step's `lease`: what the others say of progress and metrics is not heard.
    `drive`: the folder of the driver that asked for the step, `stage` what its recipe calls it.
    `prefix`: a folder for what a smaller share of the step leaves for a larger one.
    """

    def __init__(
        self,
        step: Step,
        store: Store,
        where: RunContext,
        work: Path,
        world: StepRanks,
        lease: Lease | None = None,
    ) -> None:
        self.step_kind, self.stage, self.slug, self.key = step.kind, step.name, step.slug, step.key
        # As the key has it: the order in which fields come moves the rounding of sums.
        self.spec = json.loads(canonical(step.spec))
        folders = {role: store.folder(parent) for role, parent in step.parents.items()}
        self.parents = {role: folders[role] for role in trained_roles(folders)}
        self.annotated = {role: folders[role] for role in folders.keys() - self.parents}
        self.work = work
        self.home = store.home
        self.drive = Home(store.home).drives / where.drive
        self.prefix = store.prefix(step)
        self.infra = where.of(step.kind).model_dump(mode="json")
        self.world = world
        shares = where.device == "cuda" and world.size > 1
        self.device = f"cuda:{world.local}" if shares else where.device
        self._lease = lease
        self._log = self.work / "metrics.jsonl"

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Say how far the step is; as cheap as setting a variable, the lease's beat writes it."""
        if self._lease is None:
            return
        if self._lease.lost:
            raise LeaseLostError
        self._lease.done, self._lease.total, self._lease.note = done, total, note

    def log(self, metrics: dict[str, Any]) -> None:
        """Append one row, such as `{"step": 3, "loss": 2.1}`, to `metrics.jsonl`."""
        if self._lease is not None:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(metrics) + "\n")

    def truncate_log(self, step: int) -> None:
        """Drop the rows after `step`, which a resumed run is about to write again."""
        if self._lease is not None and self._log.exists():
            kept = [line for line in self._lines() if json.loads(line).get("step", 0) <= step]
            write_atomic(self._log, "".join(kept))  # a kill leaves the rows that were there

    def logged(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`, also of earlier attempts."""
        return [json.loads(line) for line in self._lines()] if self._log.exists() else []

    def _lines(self) -> list[str]:
        """Its lines; a kill may have cut the last one short."""
        lines = self._log.read_text(encoding="utf-8").splitlines(keepends=True)
        return [line for line in lines if line.endswith("\n")]
