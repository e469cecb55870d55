"""TensorBoard: `tensorboard --logdir $ABLATE_HOME/tracking/tensorboard`."""

import re
from typing import TYPE_CHECKING

from ablate.trackers import Run, Tracker

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class Tensorboard(Tracker):
    """A folder a step, below its study, round and candidate; of one that goes on TensorBoard drops
    what was written before, for all of it is written again."""

    package, install = "tensorboard", "ablate-vlm[tensorboard]"

    def open(self, run: Run) -> "Logger":
        from lightning.pytorch.loggers import TensorBoardLogger

        candidate = re.sub(r"[^\w.+-]+", "-", run.labels.candidate)
        return TensorBoardLogger(
            run.folder / "tensorboard",
            name=f"{run.group}/{candidate}",
            version=f"{run.stage}-{run.key[:8]}",
            default_hp_metric=False,
            purge_step=0,
        )

    def known(self, logger: "Logger", last: int) -> int:
        return -1
