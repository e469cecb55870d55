"""Weights & Biases, or with `offline` folders that `wandb sync` sends there later."""

import os
import shutil
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ablate.errors import UserError
from ablate.trackers import Run, Tracker

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class Wandb(Tracker):
    """A run a step: its group is study and round, its job type the stage; study, round and
    candidate are in its config too. `entity`: the user or team, by default the account's.

    Offline, a step that goes on writes its folder anew: a kill leaves next to nothing of it.
    """

    package, install = "wandb", "ablate-vlm[wandb]"

    def __init__(self, *, project: str = "ablate", entity: str = "", offline: bool = False) -> None:
        self.project, self.entity = project, entity
        self.mode = "offline" if offline else os.environ.get("WANDB_MODE", "online")

    def require(self) -> None:
        super().require()
        import wandb

        if self.mode == "online" and not wandb.api.api_key:
            raise UserError(
                "infra.tracker is wandb, but nobody is logged in to it here; `wandb login`, set "
                "$WANDB_API_KEY, or take {name: wandb, offline: true}"
            )

    def open(self, run: Run) -> "Logger":
        import wandb
        from lightning.pytorch.loggers import WandbLogger

        if run.id and self.mode != "online":
            for folder in (run.folder / "wandb").glob(f"offline-run-*-{run.id}"):
                shutil.rmtree(folder)
        return WandbLogger(
            project=self.project,
            entity=self.entity or None,
            name=run.name,
            group=run.group,
            job_type=run.stage,
            id=run.id or f"{run.key[:12]}-{uuid.uuid4().hex[:6]}",
            save_dir=run.folder,
            mode=self.mode,
            resume="allow" if self.mode == "online" else None,
            settings=wandb.Settings(console="off", disable_git=True),  # the step's log is kept
        )

    def known(self, logger: "Logger", last: int) -> int:
        return int(logger.experiment.starting_step) - 1  # as the server says; offline 0

    def log(self, logger: "Logger", values: Mapping[str, float], step: int) -> None:
        # By its own step, which the server tells when the run goes on; and sent at once.
        logger.experiment.log({**values, "trainer/global_step": step}, step=step, commit=True)

    def close(self, logger: "Logger", failed: bool) -> None:
        super().close(logger, failed)
        logger.experiment.finish(exit_code=int(failed))
