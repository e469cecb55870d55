"""The Ray jobs of a drive, for who looks at it from outside."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ablate.launch.protocol import QueuedJob, Submissions
from ablate.launch.ray import submission


class Jobs(Submissions):
    """The jobs of the drive in this folder, in the cluster that it names."""

    def __init__(self, drive: Path) -> None:
        self.drive, self.cluster = drive, submission.cluster_of(drive)

    def submitted(self) -> Mapping[str, Sequence[str]]:
        return {
            job.number: () if job.answer.exists() else job.keys
            for job in submission.submissions(self.drive)
        }

    def ask(self, jobs: Sequence[str], patience: float = 10.0) -> Mapping[str, QueuedJob] | None:
        if self.cluster is None or not jobs:
            return {}
        known = self.cluster.jobs(patience)
        return known and {number: known[number] for number in jobs if number in known}

    def cancel(self, jobs: Sequence[str]) -> None:
        for number in jobs:
            if self.cluster:
                self.cluster.stop(number)

    def logs(self, key: str) -> list[Path]:
        submitted = submission.submissions(self.drive)
        having = (job for job in submitted if any(step.startswith(key) for step in job.keys))
        return [job.printed for job in having if job.printed.exists()]

    def hurry(self, job: str) -> str:
        return f"`ray job stop {job}` asks again, `ray stop --force` ends all that runs on its node"
