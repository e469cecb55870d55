"""The launcher `ray`. What it does is in the files beside this one, imported when it is used."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ablate.config.infra import Infra, require_deepspeed
from ablate.errors import UserError
from ablate.launch.finding import Finding
from ablate.launch.launcher import Launcher, Probe
from ablate.launch.protocol import Backend, Drive, Submissions
from ablate.launch.ray.options import MORE_MEMORY, options
from ablate.launch.ray.options import Ray as Options


class Ray(Launcher):
    """Chains as jobs of a Ray cluster, by its Jobs API."""

    remote = True
    Options = Options
    more_memory = MORE_MEMORY

    def open(self, drive: Drive, jobs: int | None) -> Backend:
        from ablate.launch.ray.cluster import Cluster
        from ablate.launch.ray.jobs import OnRay

        asked = drive.asked().values()
        if max(infra.nodes for infra in asked) > 1:
            raise UserError(
                "infra.nodes is above 1, but a job of the backend ray is on one node; set "
                "infra.devices, or choose another"
            )
        if any(infra.by_deepspeed for infra in asked):
            require_deepspeed()
        given = options(drive.infra)
        cluster = Cluster.at(given.address)
        cluster.require()
        return OnRay(drive, cluster, jobs or given.at_once)

    def submissions(self, drive: Path) -> Submissions:
        from ablate.launch.ray.queue import Jobs

        return Jobs(drive)

    def requests(self, infra: Infra, kinds: Iterable[str], jobs: int | None) -> str:
        from ablate.launch.ray.submission import shown

        return shown(infra, kinds)

    def submit_driver(self, infra: Infra, drive: Path, logs: Path, call: Callable[[], Any]) -> str:
        from ablate.launch.ray import submission
        from ablate.launch.ray.cluster import AwayError, Cluster, RefusedError

        small = submission.driver_infra(infra)
        cluster, number = Cluster.at(options(small).address), f"ablate-{drive.name}-driver"
        submission.remember(drive, cluster)
        folder, printed = drive / "driver", self.driver_log(logs, number)
        submission.prepare(folder, small, partial(_alone, call), printed)
        try:
            cluster.submit(number, submission.asks(small), submission.entrypoint(folder, number))
        except (AwayError, RefusedError) as error:
            raise UserError(f"no driver at {cluster.address}: {error}") from None
        return number

    def examine(self) -> Iterator[Finding]:
        from ablate.launch.ray.cluster import Cluster

        cluster = Cluster.at(None)
        try:
            version = cluster.require(patience=2.0)
        except UserError:
            remedy = "Only `--backend ray` needs it: `ray start --head` begins a cluster here."
            yield Finding("ray", "note", f"no cluster answers at {cluster.address}", remedy)
        else:
            yield Finding("ray", "ok", f"{version} at {cluster.address}")

    def probe(self, asked: Probe) -> Iterator[Finding]:
        from ablate.launch.ray.doctor import examine

        yield from examine(asked)


def _alone(call: Callable[[], Any], rank: int) -> None:
    """A call that has one process and need not know it."""
    call()
