"""Trackio: `TRACKIO_DIR=$ABLATE_HOME/tracking/trackio trackio show`, or a Space of the hub."""

import os
import uuid
from typing import TYPE_CHECKING

from ablate.trackers import Run, Tracker

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class Trackio(Tracker):
    """A run a step, whose group is study and round. `space`: of the hub (`""`: none)."""

    package, install = "trackio", "ablate-vlm[trackio]"

    def __init__(self, *, project: str = "ablate", space: str = "") -> None:
        self.project, self.space = project, space

    def open(self, run: Run) -> "Logger":
        os.environ.setdefault("TRACKIO_DIR", str(run.folder / "trackio"))  # read on import
        from ablate.trackers._trackio_logger import TrackioLogger

        return TrackioLogger(
            run.id or f"{run.name} {uuid.uuid4().hex[:6]}",  # a run goes on by its name
            project=self.project,
            group=run.group,
            space_id=self.space or None,
        )
