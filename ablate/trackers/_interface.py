"""What a tracker is: it opens a logger of Lightning's for a step."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ablate.errors import UserError
from ablate.worker.run_labels import RunLabels

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


@dataclass(frozen=True)
class Run:
    """A step as a tracker sees it. `stage`: what a recipe calls it; `folder`: where trackers leave
    files; `id`: the logger's `version` in the attempt that it goes on from, None for a new run."""

    labels: RunLabels
    stage: str
    key: str
    folder: Path
    id: str | None

    @property
    def group(self) -> str:
        """The study and the round, such as `micro/rounds/round-2`."""
        return f"{self.labels.study}/round-{self.labels.round}"

    @property
    def name(self) -> str:
        """The candidate, and which step of it."""
        return f"{self.labels.candidate} {self.stage}"


class Tracker:
    """Shows metrics elsewhere. `package`: what is imported for it; `install`: what pip is told."""

    package: ClassVar[str]
    install: ClassVar[str]

    def open(self, run: Run) -> "Logger":
        """The logger of a step; its `version` is the id by which a later attempt goes on."""
        raise NotImplementedError

    def known(self, logger: "Logger", last: int) -> int:
        """The last step that a run knows which goes on, -1 where it is to be told all anew.

        `last`: what an earlier attempt told it last. It may have been killed before that came.
        """
        return last

    def log(self, logger: "Logger", values: Mapping[str, float], step: int) -> None:
        """Tell the logger some numbers of a step, by name."""
        logger.log_metrics(values, step)

    def close(self, logger: "Logger", failed: bool) -> None:
        """End the run, for now where the step has failed or was stopped."""
        logger.finalize("failed" if failed else "success")

    def require(self) -> None:
        """Raises UserError for what is not here: its package, or an account."""
        if find_spec(self.package) is None:
            raise UserError(
                f"infra.tracker needs the package {self.package}, which is not installed here; "
                f"`pip install '{self.install}'`, or leave infra.tracker out"
            )
