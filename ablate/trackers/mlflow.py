"""MLflow: its server, or a database `$ABLATE_HOME/tracking/mlflow.db`."""

import os
from typing import TYPE_CHECKING

from ablate.trackers import Run, Tracker

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class Mlflow(Tracker):
    """A run a step, in an experiment a study, with round, candidate and stage as tags. `uri`: of
    the server, by default what $MLFLOW_TRACKING_URI says, or else a database in the home."""

    package, install = "mlflow", "ablate-vlm[mlflow]"

    def __init__(self, *, uri: str = "") -> None:
        self.uri = uri

    def open(self, run: Run) -> "Logger":
        from filelock import FileLock
        from lightning.pytorch.loggers import MLFlowLogger

        labels, here = run.labels, f"sqlite:///{run.folder / 'mlflow.db'}"
        with FileLock(run.folder / "mlflow.lock"):  # of two who make an experiment one would fail
            logger = MLFlowLogger(
                experiment_name=labels.study,
                run_name=run.name,
                run_id=run.id,
                tracking_uri=self.uri or os.environ.get("MLFLOW_TRACKING_URI") or here,
                tags={
                    "round": str(labels.round),
                    "candidate": labels.candidate,
                    "stage": run.stage,
                    "step": run.key,
                },
            )
            _ = logger.experiment
        return logger
